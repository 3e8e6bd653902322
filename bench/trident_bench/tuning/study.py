"""The search: Optuna's study of one ensemble, in a file, gone on with where it was stopped."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from trident_bench.stand.errors import StandError
from trident_bench.tuning.candidates import Candidates, Choice

STUDY_FILE = "study.log"
LOCK = "lock"
#: Attributes of the study and of its trials.
BEGUN_WITH, BOUND = "begun_with", "p99_bound"
THROUGHPUT, P99, FAILURE = "throughput", "p99", "failure"
#: Trials drawn at random before the sampler learns from them.
STARTUP_TRIALS = 8
#: How often a choice that was measured already is drawn before the search is taken for exhausted.
MOST_REPEATS = 50

Choices = Mapping[str, Choice]


@dataclass(frozen=True)
class Measurement:
    """What a configuration did under load.

    Attributes:
        throughput: requests a second.
        p99: in seconds.
    """

    throughput: float
    p99: float


def score(measured: Measurement, bound: float) -> float:
    """Return what is searched for the most of: requests a second.

    Where the 99th percentile breaks its bound, how many times it does, negative: below all that keep it, and the less
    the worse.
    """
    return measured.throughput if measured.p99 <= bound else -measured.p99 / bound


@contextmanager
def opened(output: Path, name: str, begun_with: dict[str, Any]) -> Iterator[optuna.Study]:
    """Open a study, or begin it; no other process may meanwhile.

    Args:
        output: its folder.
        name: its name.
        begun_with: what must be the same for two trials to be compared.

    Raises:
        StandError: the folder cannot be written, another process is at it, or it was begun with something else.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = (output / LOCK).open("w")
    except OSError as error:
        raise StandError(f"{output} cannot be written ({error.strerror}): choose another with --output.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StandError(f"Another search is at work in {output}: choose another with --output.") from None
        study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(output / STUDY_FILE))),
            direction="maximize",
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(multivariate=True, n_startup_trials=STARTUP_TRIALS),
        )
        before = study.user_attrs.get(BEGUN_WITH)
        if before is None:
            study.set_user_attr(BEGUN_WITH, begun_with)
        elif before != begun_with:
            changed = [
                f"{key} was {before.get(key)!r} and is {begun_with.get(key)!r}"
                for key in sorted(set(before) | set(begun_with))
                if before.get(key) != begun_with.get(key)
            ]
            raise StandError(
                f"The search in {output} was begun otherwise: {'; '.join(changed)}. Begin another one (--output)."
            )
        yield study


def search(
    study: optuna.Study,
    trials: int,
    space: Mapping[str, Candidates],
    bound: float | None,
    run: Callable[[Choices], Measurement],
    tell: Callable[[FrozenTrial], None],
    slack: float,
) -> None:
    """Run trials until the study has so many measured; the first is the configuration as it is.

    Args:
        study: from :func:`opened`.
        trials: to measure in all.
        space: what may be chosen, by model.
        bound: of the 99th percentile, in seconds; None for the first trial's times ``slack``.
        run: measures one choice.
        tell: called with every trial that was measured or failed.
        slack: see ``bound``.

    Raises:
        StandError: the configuration as it is cannot be measured.
    """
    _take_up_again(study)
    if not study.trials:
        study.enqueue_trial(_parameters({model: each.default for model, each in space.items()}, space))
    repeats = 0
    while left(study, trials) and repeats < MOST_REPEATS:
        trial = study.ask()
        choices = draw(trial, space)
        twin = next((each for each in finished(study) if each.params == trial.params), None)
        if twin is not None:
            repeats += 1
            study.tell(trial, state=TrialState.PRUNED)
            continue
        repeats = 0
        try:
            measured = run(choices)
        except (KeyboardInterrupt, StandError) as error:
            # Whatever a choice trips over, others are still worth trying, but for the one that they are compared with.
            if isinstance(error, KeyboardInterrupt) or not finished(study):
                study.tell(trial, state=TrialState.PRUNED)
                study.enqueue_trial(trial.params)
                raise
            trial.set_user_attr(FAILURE, str(error))
            study.tell(trial, state=TrialState.FAIL)
            tell(study.trials[trial.number])
            continue
        if BOUND not in study.user_attrs:
            study.set_user_attr(BOUND, bound if bound is not None else slack * measured.p99)
        trial.set_user_attr(THROUGHPUT, measured.throughput)
        trial.set_user_attr(P99, measured.p99)
        study.tell(trial, score(measured, study.user_attrs[BOUND]))
        tell(study.trials[trial.number])


def draw(trial: Trial, space: Mapping[str, Candidates]) -> dict[str, Choice]:
    """Choose for each model; what has one candidate is not asked for."""

    def pick(name: str, among: tuple[Any, ...]) -> Any:
        if len(among) == 1:
            return among[0]
        shown = [_shown(each) for each in among]
        return among[shown.index(trial.suggest_categorical(name, shown))]

    chosen = {}
    for model, each in space.items():
        instances, threads = pick(f"{model} layout", each.layouts)
        delay = pick(f"{model} delay", each.delays)
        preferred = pick(f"{model} preferred", each.preferred)
        largest = pick(f"{model} largest", each.largest)
        chosen[model] = Choice(instances, threads, delay, preferred, largest)
    return chosen


def chosen(trial: FrozenTrial, space: Mapping[str, Candidates]) -> dict[str, Choice]:
    """Return what a trial of the past chose."""
    return draw(optuna.trial.FixedTrial(trial.params), space)  # type: ignore[arg-type]


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that were measured."""
    return [each for each in study.trials if each.state is TrialState.COMPLETE]


def failed(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials whose servers did not start or answer."""
    return [each for each in study.trials if FAILURE in each.user_attrs]


def left(study: optuna.Study, trials: int) -> int:
    """Return how many trials are still to be made."""
    return max(0, trials - len(finished(study)) - len(failed(study)))


def facts(space: Mapping[str, Candidates]) -> dict[str, Any]:
    """Return a space as the study keeps it."""
    return {model: repr(asdict(each)) for model, each in space.items()}


def _take_up_again(study: optuna.Study) -> None:
    """Queue what a killed process was at once more."""
    for each in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        study.tell(each.number, state=TrialState.PRUNED)
        if each.params:
            study.enqueue_trial(each.params)


def _parameters(choices: Choices, space: Mapping[str, Candidates]) -> dict[str, Any]:
    """Return choices as a trial's parameters."""
    found: dict[str, Any] = {}
    for model, choice in choices.items():
        each = space[model]
        named: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
            ("layout", each.layouts, (choice.instances, choice.threads)),
            ("delay", each.delays, choice.delay),
            ("preferred", each.preferred, choice.preferred),
            ("largest", each.largest, choice.largest),
        )
        found |= {f"{model} {name}": _shown(value) for name, among, value in named if len(among) > 1}
    return found


def _shown(value: Any) -> str:
    return "x".join(str(each) for each in value if each is not None) if isinstance(value, tuple) else str(value)
