"""Load tests: every ensemble under rising load over HTTP and gRPC, and at the facade; where it bends, and why.

``plan`` says what is measured; ``perf_analyzer`` (NVIDIA's) and ``generated`` (our generator) make the load of one
point, ``window`` reads Triton's counters meanwhile, ``points`` has what was found, ``summary`` judges it, ``report``
shows it. ``sweep`` goes through it all, and ``command`` is what people call.
"""
