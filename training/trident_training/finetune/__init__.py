"""Fine-tuning on ``transformers.Trainer``: settings and their defaults, the run, and what each task puts into it.

``defaults`` knows what the architectures' papers used, ``settings`` is one run's choice, ``run`` trains, keeps the best
epoch, stops and resumes, ``acceptability`` prepares CoLA for it, and ``sweep`` compares several models.
"""
