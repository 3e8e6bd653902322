"""The command line ``trident``: asks a running server from a terminal, a pipe or files.

Readers and writers know files, :mod:`.work` knows rows, :mod:`.app` knows options; nothing else imports this folder. It
needs the extra ``cli`` (typer, rich, pyarrow, prometheus_client), which the client itself does not.
"""
