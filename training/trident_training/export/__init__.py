"""Export of Hugging Face encoders to TorchScript that computes no padding.

``packing`` makes an encoder work on one row of real tokens, ``sentence`` puts a task's head on it, ``parity`` compares
the result with the plain Hugging Face model, ``install`` writes it into the model repository or refuses to.
"""
