"""Fine-tuning on ``transformers.Trainer``: settings and their defaults, and the run; it knows no task by name.

``defaults`` knows what the architectures' papers used, ``settings`` is one run's choice, ``run`` trains, keeps the best
epoch, stops and resumes in its ``folder``, ``lesson`` and ``teaching`` have it learn from another model, ``sweep``
compares several models, ``tuning`` searches for hyper-parameters, ``sharing`` parts a sweep among processes, and
``soup`` averages weights.
"""
