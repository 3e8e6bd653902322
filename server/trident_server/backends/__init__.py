"""Triton's backends, as far as they are this project's.

``inprocess.c`` lets a backend run inside Triton's process and calls the ``inprocess`` module of the backend's folder
here; ``delegate.c`` leaves some of its models to another library. ``tensors`` and ``triton_log`` are what both folders
share. ``pytorch`` is linked into Triton's backend directory as it stands where nothing can be compiled.
"""

#: Levels of x86-64, as GCC names them, that operators of libtorch are compiled for, and the variable that names the
#: folder of what came of it, ``kernels-LEVEL.so`` each.
PROCESSORS = ("x86-64-v3", "x86-64-v4")
KERNELS_VARIABLE = "TRIDENT_KERNELS"
