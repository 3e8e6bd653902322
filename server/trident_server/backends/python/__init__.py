"""Triton's ``python`` backend inside Triton's process, for models that opt in with the parameter ``IN_PROCESS``.

``inprocess`` loads and calls them; ``backend_utils`` is their ``triton_python_backend_utils``. All other models are the
wheel's own library's, which gives each instance a process.
"""
