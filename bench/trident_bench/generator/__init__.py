"""The load generator: requests that were made before, in a closed or an open loop, over HTTP, gRPC or at the facade.

``loop`` keeps time and counts, ``http`` and ``grpc`` are the connections, and the table in ``requests`` has each
protocol's connection, request and answer. Nothing here knows what is measured, or why.
"""
