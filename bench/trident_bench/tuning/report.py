"""What a search found: a table, a JSON file and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from trident_bench.tuning.candidates import words
from trident_bench.tuning.study import Search, Trial, chosen
from trident_bench.tuning.verdict import Measurement, Verdict

SHOWN = 8
MILLISECONDS = 1000
GOOD, POOR, FOUND, OWN = "#3f8f6b", "#c9ced4", "#c4512f", "#4a6fa5"


@dataclass(frozen=True)
class Report:
    """A search so far.

    Attributes:
        facts: what it was begun with, and when and where.
        search: its trials.
        rounds: the default and the best against each other; empty where it did not come to that.
        verdict: on the rounds; None where there are none.
        written: the files that were written.
    """

    facts: Mapping[str, Any]
    search: Search
    rounds: Sequence[tuple[Measurement, Measurement]] = ()
    verdict: Verdict | None = None
    written: Sequence[Path] = ()

    def words(self, trial: Trial) -> str:
        """Say what a trial chose."""
        space = self.search.space
        return words(chosen(trial.parameters, space), {model: each.default for model, each in space.items()})

    def table(self) -> Table:
        """Return the best trials and the default."""
        made = Table(box=None, pad_edge=False)
        for head in ("trial", "requests/s", "p99, ms", "configuration"):
            made.add_column(head, justify="left" if head == "configuration" else "right")
        best = self.search.finished
        for trial in [*best[:SHOWN], *(each for each in best[SHOWN:] if each.number == 0)]:
            rate, p99 = trial.throughput or 0.0, (trial.p99 or 0.0) * MILLISECONDS
            style = "" if self._keeps_bound(trial) else "dim"
            made.add_row(str(trial.number), f"{rate:,.0f}", f"{p99:,.0f}", self.words(trial), style=style)
        return made

    def write(self, output: Path) -> None:
        """Write ``tune.json`` and, where something was measured, ``tune.png``."""
        content = {
            **self.facts,
            "p99_bound_seconds": self.search.p99_bound,
            "trials": [
                {
                    "number": each.number,
                    "choice": self.words(each),
                    "requests_per_second": each.throughput,
                    "p99_seconds": each.p99,
                    "failure": each.failure or None,
                }
                for each in self.search.trials
            ],
            "rounds": [{"default": asdict(default), "found": asdict(found)} for default, found in self.rounds],
            "median_ratio": self.verdict and self.verdict.median,
            "better": self.verdict and self.verdict.better,
            "written": [str(each) for each in self.written],
        }
        (output / "tune.json").write_text(json.dumps(content, indent=1) + "\n")
        if self.search.finished:
            self._draw(output / "tune.png")

    def _keeps_bound(self, trial: Trial) -> bool:
        return (trial.p99 or 0.0) <= (self.search.p99_bound or 0.0)

    def _draw(self, file: Path) -> None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(11, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        bound = (self.search.p99_bound or 0.0) * MILLISECONDS
        trials = self.search.finished
        best = trials[0].number
        for trial in trials:
            colour = GOOD if self._keeps_bound(trial) else POOR
            place = ((trial.p99 or 0.0) * MILLISECONDS, trial.throughput or 0.0)
            left.scatter(*place, color=colour, s=36, zorder=2)
            for number, label, ring in ((0, "as configured", OWN), (best, "best", FOUND)):
                if trial.number == number:
                    left.scatter(
                        *place, s=130, facecolor="none", edgecolor=ring, linewidth=2, label=label, zorder=3 + number
                    )
        left.axvline(bound, color="#555555", linestyle="--", linewidth=1, label=f"bound, {bound:.0f} ms")
        left.set(xlabel="p99, milliseconds", ylabel="requests a second", xlim=(0, None), ylim=(0, None))
        left.set_title(f"{self.facts['ensemble']}: {len(trials)} configurations", loc="left")
        left.legend(frameon=False, fontsize=9)
        right.set_title("best against as configured, in turns", loc="left")
        right.axhline(1.0, color=OWN, linewidth=1.5)
        if self.verdict is not None:
            numbers = range(1, len(self.verdict.ratios) + 1)
            right.plot(numbers, self.verdict.ratios, "o", color=FOUND)
            right.axhline(self.verdict.median, color=FOUND, linestyle=":", label=f"median {self.verdict.median:.2f}")
            right.set_xticks(list(numbers))
            right.legend(frameon=False, fontsize=9)
        else:
            right.text(0.5, 0.5, "not measured", transform=right.transAxes, ha="center", va="bottom", color="#555555")
            right.set_xticks([])
        right.set(xlabel="round", ylabel="requests a second, ratio")
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(str(self.facts["machine"]), fontsize=10, x=0.01, ha="left", color="#555555")
        figure.savefig(file, dpi=130)
