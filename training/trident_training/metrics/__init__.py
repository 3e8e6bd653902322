"""What metrics have in common: ``evaluate.Metric`` modules of the project, of which no script is downloaded.

Each class names its primary value and whether greater is better, so that "the best model" is never a guess. A task's
own metrics are in its folder; ``decisions`` are those of any decision between two labels.
"""
