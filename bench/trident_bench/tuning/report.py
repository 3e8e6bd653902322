"""The report of a search: a table of the best configurations, and a picture of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident_bench.drawing import BAD, CEILING, FAINT, INK, OURS, picture
from trident_bench.report import Report, Section, Table
from trident_bench.tuning.candidates import describe
from trident_bench.tuning.study import Search, Trial
from trident_bench.tuning.verdict import Measurement, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "tune.png"
MOST_SHOWN = 8
MILLISECONDS = 1000


@dataclass(frozen=True)
class Tuning:
    """A search so far.

    Attributes:
        search: its trials.
        rounds: the default and the best against each other; empty where it did not come to that.
        verdict: on the rounds; None where there are none.
        written: the files that were written.
    """

    search: Search
    rounds: Sequence[tuple[Measurement, Measurement]] = ()
    verdict: Verdict | None = None
    written: Sequence[Path] = ()

    def describe(self, trial: Trial) -> str:
        """Return in words what a trial chose."""
        return describe(self.search.choices(trial.parameters), self.search.defaults)

    def keeps_bound(self, trial: Trial) -> bool:
        """Whether a trial's 99th percentile keeps its bound."""
        return (trial.p99 or 0.0) <= (self.search.p99_bound or 0.0)

    def report(self, facts: Mapping[str, Any], remarks: Sequence[str], folder: Path) -> Report:
        """Return the report; its picture is drawn into the folder.

        Args:
            facts: what the search was begun with.
            remarks: what came of it.
            folder: where to.
        """
        pictures = [PICTURE] if self.search.finished else []
        if pictures:
            with picture(folder / PICTURE, 7, 4.6, str(facts["machine"])) as canvas:
                self._draw(canvas.subplots())
        results = {
            "conditions": facts,
            "p99_bound_seconds": self.search.p99_bound,
            "trials": [each.model_dump() | {"choice": self.describe(each)} for each in self.search.trials],
            "rounds": [{"default": asdict(default), "found": asdict(found)} for default, found in self.rounds],
            "ratio": self.verdict and asdict(self.verdict.spread),
            "better": self.verdict and self.verdict.better,
            "written": [str(each) for each in self.written],
        }
        title = f"Configurations of {facts['ensemble']}"
        return Report(title, results, [Section("Search", remarks, [self.table(title)], pictures)])

    def table(self, title: str) -> Table:
        """Return the best trials and the default."""
        best = self.search.finished
        rows = []
        for trial in [*best[:MOST_SHOWN], *(each for each in best[MOST_SHOWN:] if each.number == 0)]:
            rate, p99 = trial.throughput or 0.0, (trial.p99 or 0.0) * MILLISECONDS
            choice = self.describe(trial) + ("" if self.keeps_bound(trial) else " (breaks the bound)")
            rows.append([choice, str(trial.number), f"{rate:,.0f}", f"{p99:,.0f}"])
        return Table(title, ("configuration", "trial", "requests/s", "p99, ms"), rows)

    def _draw(self, axes: Axes) -> None:
        trials, bound = self.search.finished, (self.search.p99_bound or 0.0) * MILLISECONDS
        for trial in trials:
            place = ((trial.p99 or 0.0) * MILLISECONDS, trial.throughput or 0.0)
            axes.scatter(*place, color=OURS if self.keeps_bound(trial) else CEILING, s=36, zorder=2)
            for number, label, ring in ((0, "as configured", INK), (trials[0].number, "best", BAD)):
                if trial.number == number:
                    axes.scatter(*place, s=130, label=label, facecolor="none", edgecolor=ring, linewidth=2)
        axes.axvline(bound, color=FAINT, linestyle="--", linewidth=1, label=f"bound, {bound:.0f} ms")
        axes.set(xlabel="p99, milliseconds", ylabel="requests a second", xlim=(0, None), ylim=(0, None))
        axes.set_title(f"{len(trials)} configurations")
        axes.legend()
