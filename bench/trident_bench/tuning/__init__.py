"""``trident-bench tune``: finds how many instances, threads, what delay and which batches suit a machine.

What it finds becomes a named configuration, which Triton takes in place of ``config.pbtxt`` where it is asked to.
"""
