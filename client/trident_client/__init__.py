"""Trident's Python client. Talks to Triton and to nothing else; never imports torch or transformers."""
