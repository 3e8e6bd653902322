"""What a search found: a table, a JSON file and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident_bench.drawing import BAD, CEILING, FAINT, INK, OURS, drawing
from trident_bench.report import Table, write_json
from trident_bench.tuning.candidates import words
from trident_bench.tuning.study import Search, Trial, chosen
from trident_bench.tuning.verdict import Measurement, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 8
MILLISECONDS = 1000


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
        best = self.search.finished
        rows = []
        for trial in [*best[:SHOWN], *(each for each in best[SHOWN:] if each.number == 0)]:
            rate, p99 = trial.throughput or 0.0, (trial.p99 or 0.0) * MILLISECONDS
            words = self.words(trial) + ("" if self._keeps_bound(trial) else " (breaks the bound)")
            rows.append([words, str(trial.number), f"{rate:,.0f}", f"{p99:,.0f}"])
        return Table(str(self.facts["ensemble"]), ("configuration", "trial", "requests/s", "p99, ms"), rows)

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
        write_json(output / "tune.json", content)
        if self.search.finished:
            self._draw(output / "tune.png")

    def _keeps_bound(self, trial: Trial) -> bool:
        return (trial.p99 or 0.0) <= (self.search.p99_bound or 0.0)

    def _draw(self, file: Path) -> None:
        with drawing(file, 11, 4.6, str(self.facts["machine"])) as figure:
            left, right = figure.subplots(1, 2, width_ratios=(3, 2))
            self._draw_trials(left)
            self._draw_rounds(right)

    def _draw_trials(self, axes: Axes) -> None:
        trials, bound = self.search.finished, (self.search.p99_bound or 0.0) * MILLISECONDS
        for trial in trials:
            place = ((trial.p99 or 0.0) * MILLISECONDS, trial.throughput or 0.0)
            axes.scatter(*place, color=OURS if self._keeps_bound(trial) else CEILING, s=36, zorder=2)
            for number, label, ring in ((0, "as configured", INK), (trials[0].number, "best", BAD)):
                if trial.number == number:
                    style: Any = {"facecolor": "none", "edgecolor": ring, "linewidth": 2, "zorder": 3 + number}
                    axes.scatter(*place, s=130, label=label, **style)
        axes.axvline(bound, color=FAINT, linestyle="--", linewidth=1, label=f"bound, {bound:.0f} ms")
        axes.set(xlabel="p99, milliseconds", ylabel="requests a second", xlim=(0, None), ylim=(0, None))
        axes.set_title(f"{self.facts['ensemble']}: {len(trials)} configurations")
        axes.legend()

    def _draw_rounds(self, axes: Axes) -> None:
        axes.set_title("best against as configured, in turns")
        axes.set(xlabel="round", ylabel="requests a second, ratio")
        axes.axhline(1.0, color=INK, linewidth=1.5)
        if self.verdict is None:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="bottom", color=FAINT)
            axes.set_xticks([])
            return
        numbers = range(1, len(self.verdict.ratios) + 1)
        axes.plot(numbers, self.verdict.ratios, "o", color=BAD)
        axes.axhline(self.verdict.median, color=BAD, linestyle=":", label=f"median {self.verdict.median:.2f}")
        axes.set_xticks(list(numbers))
        axes.legend()
