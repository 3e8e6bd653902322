"""Faults, floods and a soak, before servers of their own; ``make chaos`` runs the long forms."""
