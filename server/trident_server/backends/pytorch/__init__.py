"""Triton's ``pytorch`` backend as a Python-based backend: serves ``model.pt`` where the C++ libtorch one is absent.

Keeps the C++ backend's contract, so that a model repository need not know which of the two serves it. ``model.py`` is
what Triton loads; ``configuration`` reads ``config.pbtxt`` as the C++ backend does; ``batch`` joins requests into one
``forward`` call and splits its answer.
"""
