"""Triton's backends, as far as they are this project's.

``inprocess.c`` lets a backend run inside Triton's process and calls the ``inprocess`` module of the backend's folder
here; ``delegate.c`` leaves some of its models to another library. ``tensors`` and ``triton_log`` are what both folders
share. ``pytorch`` is linked into Triton's backend directory as it stands where nothing can be compiled.
"""

#: Processors that operators of libtorch are compiled for, with GCC's options, and the variable that names the folder of
#: what came of it, ``kernels-PROCESSOR.so`` each.
PROCESSORS = {
    "avx2": ("-march=x86-64-v3",),
    "avx512": ("-march=x86-64-v4",),
    "avx512_vnni": ("-march=x86-64-v4", "-mavx512vnni"),
}
KERNELS_VARIABLE = "TRIDENT_KERNELS"
