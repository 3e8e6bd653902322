"""Loading of the tasks' data sets: by hub name or from local files, every bad row named before any training starts.

``reading`` turns files into rows, ``problems`` collects what is wrong with them, and each task's module says what a
good row is.
"""
