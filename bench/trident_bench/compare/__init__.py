"""Trident beside its peers: the same model, sentences and machine, measured in interleaved rounds.

What is run stands in ``contenders``; who runs it in ``rounds``; what it comes to in ``ratios`` and ``report``. The
programs of the peers, and of everything that is measured without a server, are in ``bench/peers/``.
"""
