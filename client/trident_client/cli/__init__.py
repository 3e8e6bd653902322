"""The command line ``trident``: asks a running server from a terminal, a pipe or files.

Readers and writers know files, :mod:`.processing` knows rows, :mod:`.app` knows options; nothing else imports this
folder. It needs the extra ``cli``, which the client itself does not: typer and rich, pyarrow for Parquet, and
prometheus_client for metrics.
"""
