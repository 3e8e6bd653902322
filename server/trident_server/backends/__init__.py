"""Triton's backends, as far as they are this project's.

``inprocess.c`` lets a backend run inside Triton's process and calls the ``inprocess`` module of the backend's folder
here; ``delegate.c`` leaves some of its models to another library. ``tensors`` and ``triton_log`` are what both folders
share. ``pytorch`` is linked into Triton's backend directory as it stands where nothing can be compiled.
"""
