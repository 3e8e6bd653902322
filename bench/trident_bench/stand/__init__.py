"""The test stand: what ``profile`` and ``tune`` measure on. Nothing here knows what is measured, or why.

A copy of a few models of a repository with other configurations, an embedded Triton on it, requests of each ensemble
from the project's own client, and the machine's name tag.
"""
