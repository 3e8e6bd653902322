"""A study as a page and as pictures: its history, what mattered, and which choices went together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from trident_training.finetune.tuning import METRIC

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 0.3rem 0.6rem; border-bottom: 1px solid #d8dde6; text-align: right; }}
th:nth-child(2), td:nth-child(2) {{ text-align: left; }}
tr.best {{ background: #e8f4ea; font-weight: 600; }}
.wide {{ overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{figures}
<h2>All trials</h2>
<div class="wide"><table>{table}</table></div>
</body>
</html>
"""


def write_report(study: optuna.Study, output: Path) -> None:
    """Write ``report.html``, which needs no network, and a PNG of each of its pictures."""
    from matplotlib.figure import Figure

    metric = study.user_attrs.get(METRIC, "result").replace("_", " ")
    pictures: list[str] = []
    for title, file, plot, draw in _pictures(study):
        # The script that draws them stands in the page once.
        shown = plot(study, target_name=metric).update_layout(title=None, margin={"t": 32})
        picture = shown.to_html(full_html=False, include_plotlyjs=not pictures)
        pictures.append(f"<h2>{title}</h2>{picture}")
        painted: Figure = draw(study, target_name=metric).get_figure()
        painted.set_size_inches(9, 5)
        painted.savefig(output / f"{file}.png", dpi=120, bbox_inches="tight")
    (output / "report.html").write_text(
        PAGE.format(
            title=f"Study {escape(study.study_name)}",
            summary=_summary(study),
            figures="\n".join(pictures),
            table=_table(study),
        )
    )


def _pictures(study: optuna.Study) -> Iterator[tuple[str, str, Callable[..., Any], Callable[..., Any]]]:
    """Yield title, file name, and how to draw, of what can be drawn of so many trials."""
    import warnings

    import matplotlib
    from optuna.exceptions import ExperimentalWarning

    matplotlib.use("Agg")
    warnings.simplefilter("ignore", ExperimentalWarning)
    from optuna import visualization as plotted
    from optuna.visualization import matplotlib as drawn

    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    if complete:
        yield "History", "history", plotted.plot_optimization_history, drawn.plot_optimization_history
    if len({trial.value for trial in complete}) > 1:
        yield "What mattered", "importances", plotted.plot_param_importances, drawn.plot_param_importances
        yield (
            "Which choices went together",
            "parallel_coordinates",
            plotted.plot_parallel_coordinate,
            drawn.plot_parallel_coordinate,
        )


def _summary(study: optuna.Study) -> str:
    states = [trial.state for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state.name.lower()}" for state in TrialState if state in states)
    return f"{len(states)} trial{'s' * (len(states) != 1)}: {counts}."


def _table(study: optuna.Study) -> str:
    names = sorted({name for trial in study.trials for name in trial.params})
    complete = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    best = max(complete, key=lambda trial: -math.inf if trial.value is None else trial.value, default=None)
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in ("trial", "state", "result", *names))
    rows = "".join(_row(trial, names, best is not None and trial.number == best.number) for trial in study.trials)
    return f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"


def _row(trial: FrozenTrial, names: list[str], best: bool) -> str:
    result = f"{trial.value:.4f}" if trial.value is not None else ""
    cells = [str(trial.number), trial.state.name.lower(), result]
    cells += [f"{trial.params[name]:.3g}" if name in trial.params else "" for name in names]
    return f"<tr{' class=best' if best else ''}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
