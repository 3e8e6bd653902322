"""Measures Trident: against its peers, under load, stage by stage, and with other settings on this machine.

Nothing calls this package but people, through ``trident-bench``. It starts servers of its own on free ports, stops
them, and writes what it found as JSON, Markdown, HTML and pictures into a folder that its caller names.
"""
