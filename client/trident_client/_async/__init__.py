"""The client for an event loop: what sends and waits. Rules and formats stand outside, in modules that do neither.

``_sync``, the client for threads, is generated from these modules by ``scripts/unasync.py``. Only ``concurrency.py`` is
written for each of the two.
"""
