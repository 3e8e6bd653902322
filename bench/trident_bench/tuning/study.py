"""The search: which configuration is tried next, and those that were, which are kept as they are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from trident_bench.errors import BenchError
from trident_bench.store import Record, Store, fingerprint
from trident_bench.tuning.candidates import Candidates, Choice, choice
from trident_bench.tuning.verdict import Measurement

#: Trials drawn at random before the sampler learns from them.
STARTUP_TRIALS = 8
#: How often a choice that was measured already is drawn before the search is taken for exhausted.
MOST_REPEATS = 50

Choices = Mapping[str, Choice]
Space = Mapping[str, Candidates]


class Trial(Record):
    """One configuration that was tried.

    Attributes:
        number: counted from 0, which is the configuration as it is.
        parameters: number of the candidate in each dimension that has several, by ``<model> <dimension>``.
        throughput: requests a second; None where it failed.
        p99: in seconds; None where it failed.
        failure: why the server did not start or answer.
    """

    number: int
    parameters: dict[str, int]
    throughput: float | None = None
    p99: float | None = None
    failure: str = ""

    @property
    def result(self) -> Measurement | None:
        """What it did; None where it failed."""
        return Measurement(self.throughput, self.p99) if self.throughput is not None and self.p99 is not None else None


def score(measured: Measurement, bound: float) -> float:
    """Return what is searched for the most of: requests a second.

    Where the 99th percentile breaks its bound, how many times it does, negative: below all that keep it, and the less
    the worse.
    """
    return measured.throughput if measured.p99 <= bound else -measured.p99 / bound


@dataclass
class Search:
    """A search with the trials that were made so far, by this process or by an earlier one.

    Args:
        store: keeps trials, those of other conditions in folders of their own.
        conditions: what must be the same for two trials to be compared.
        space: what may be chosen, by model.
        bound: of the 99th percentile, in seconds; None for the first trial's times ``slack``.
        slack: see ``bound``.
    """

    store: Store[Trial]
    conditions: Mapping[str, Any]
    space: Space
    bound: float | None
    slack: float

    def __post_init__(self) -> None:
        self._key = fingerprint({**self.conditions, "space": self.space})
        self._dimensions: dict[str, BaseDistribution] = {
            f"{model} {name}": CategoricalDistribution(range(len(among)))
            for model, candidates in self.space.items()
            for name, among in candidates.items()
            if len(among) > 1
        }
        self.trials: list[Trial] = self.store.every(f"trials/{self._key}", self._key)

    @property
    def p99_bound(self) -> float | None:
        """Of the 99th percentile, in seconds; None while the first trial is still to be made."""
        if self.bound is not None:
            return self.bound
        first = self.trials[0].result if self.trials else None
        return self.slack * first.p99 if first else None

    @property
    def finished(self) -> list[Trial]:
        """The trials that were measured, the best first."""
        return sorted((each for each in self.trials if each.result), key=self.score, reverse=True)

    @property
    def defaults(self) -> Choices:
        """The configuration as it is."""
        return self.choices({})

    def choices(self, parameters: Mapping[str, int]) -> Choices:
        """Return each model's choice; the first candidate where there is no parameter."""
        return {
            model: choice({name: among[parameters.get(f"{model} {name}", 0)] for name, among in candidates.items()})
            for model, candidates in self.space.items()
        }

    def score(self, trial: Trial) -> float:
        """Return a measured trial's score."""
        bound = self.p99_bound
        return score(trial.result, bound) if trial.result and bound else float("-inf")

    def remaining(self, trials: int) -> int:
        """Return how many of so many trials are still to be made."""
        return max(0, trials - len(self.trials))

    def run(self, trials: int, measure: Callable[[Choices], Measurement], on_trial: Callable[[Trial], None]) -> None:
        """Make trials until there are so many, or nothing is left to try; the first is the configuration as it is.

        Whoever interrupts it begins the next time with the choice that it was at.

        Args:
            trials: in all.
            measure: measures one choice.
            on_trial: called with every trial that was made.

        Raises:
            BenchError: the configuration as it is cannot be measured.
        """
        while self.remaining(trials) and (parameters := self._next()) is not None:
            trial = Trial(fingerprint=self._key, number=len(self.trials), parameters=parameters)
            try:
                measured = measure(self.choices(parameters))
                trial.throughput, trial.p99 = measured.throughput, measured.p99
            except BenchError as error:
                # Whatever a choice trips over, others are worth trying, but for the one that they are compared with.
                if not self.trials:
                    raise
                trial.failure = str(error)
            self.store.keep(f"trials/{self._key}/{trial.number:04d}", trial)
            self.trials.append(trial)
            on_trial(trial)

    def _next(self) -> dict[str, int] | None:
        """Return what to try, which follows from the trials before alone; None where all was tried."""
        if not self.trials:
            return dict.fromkeys(self._dimensions, 0)
        study = optuna.create_study(direction="maximize")
        for each in self.trials:
            values = {"value": self.score(each)} if each.result else {"state": TrialState.FAIL}
            study.add_trial(optuna.create_trial(params=each.parameters, distributions=self._dimensions, **values))
        for repeat in range(MOST_REPEATS):
            seed = len(self.trials) * MOST_REPEATS + repeat
            study.sampler = optuna.samplers.TPESampler(multivariate=True, n_startup_trials=STARTUP_TRIALS, seed=seed)
            trial = study.ask(self._dimensions)
            if all(trial.params != each.parameters for each in self.trials):
                return dict(trial.params)
            study.tell(trial, state=TrialState.PRUNED)
        return None
