"""What reading a data set takes, of whatever task: every bad row is named before any training starts.

``reading`` turns files into rows, whatever their ``form``, and ``texts`` into lines; ``problems`` collects what is
wrong with them, ``carving`` splits off what is chosen by, and ``splits`` is what is learned from. What a good row is, a
task's own folder says.
"""
