"""Triton's ``pytorch`` backend: serves ``model.pt`` where the C++ libtorch one is absent.

Keeps the C++ backend's contract, so that a model repository need not know which of the two serves it; where the C++
one would read past a buffer, answer wrongly or hand an argument to the wrong place, this one refuses and says why.

It runs inside Triton's process (``inprocess``, which a compiled library calls) or, where that cannot be compiled or is
not wanted, one process a model instance (``model``, which Triton's Python stub loads). Both hand their requests to
``served``. ``configuration``, ``tensors``, ``sequences``, ``parameters`` and ``naming`` read ``config.pbtxt``;
``batch`` joins requests into the arguments of one ``forward`` call and splits its outputs, in NumPy; ``loading`` loads
the module, or finds the one that instances share, and ``torchscript`` calls it. Only these import torch, so that
a wrong configuration is refused in a fraction of a second.
"""
