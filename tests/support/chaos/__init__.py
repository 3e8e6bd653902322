"""Faults, floods and a soak, before servers of their own; ``python -m chaos`` runs the long forms (``make chaos``)."""
