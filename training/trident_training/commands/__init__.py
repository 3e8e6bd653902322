"""What ``trident-train`` says and does: one module a verb, which takes any task, and what they share.

A verb's ``command`` makes the command line's function for one task; ``options`` turns dataclasses into options,
``console`` says things, ``steps`` are what several verbs do. Free of torch until a command runs.
"""
