"""Load tests: every ensemble under rising load over HTTP and gRPC, and behind the facade; where it bends, and why.

``plan`` says what is measured, ``servers`` and ``ensembles`` what is there, ``traffic`` what is sent. ``triton_load``
(NVIDIA's perf_analyzer) and ``facade_load`` (Locust) make the load of one point, ``window`` looks at Triton meanwhile,
``results`` keeps points, ``knee`` and ``summary`` judge them, ``plots`` and ``page`` show them. ``sweep`` goes through
it all, and ``command`` is what people call.
"""
