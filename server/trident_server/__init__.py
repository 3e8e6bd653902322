"""Trident's server room: a real Triton Inference Server without a container.

Finds the ``tritonserver`` that the ``nvidia-pytriton`` wheel carries, assembles its backends, starts it on
``model_repository/``, watches it and stops it. Also holds the Python-based ``pytorch`` backend that stands in for
Triton's C++ libtorch backend. Nothing in ``model_repository/`` depends on this package; it imports neither
``trident_training`` nor ``trident_api``.
"""
