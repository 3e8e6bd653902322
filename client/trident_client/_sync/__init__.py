"""The client for threads: generated from ``_async`` by ``scripts/unasync.py``, but for ``concurrency.py``."""
