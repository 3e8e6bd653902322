"""Export of Hugging Face encoders to TorchScript that computes no padding.

``packing`` lays a ragged batch out as one row of real tokens, ``attention`` keeps attention inside each sequence of it,
``encoders`` traces a model over such rows, ``heads`` are the entries Triton calls. ``parity`` compares an export with
the plain Hugging Face model, ``export`` does all of it for one model and installs the result, or refuses to.
"""
