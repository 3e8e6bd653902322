"""What tasks have in common that put a text under one of two labels: their data, training, scoring and export.

A task's class in ``tasks/`` derives from :class:`~trident_training.classification.task.Classification`, and says what
its labels and metrics are.
"""
