"""A sweep that several processes or hosts share: each candidate is a trial of one study, and one of them runs it.

A trial whose process was killed is gone on with where it ran, as a search's is; else another process begins it anew,
once nothing has been heard of it for a while.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Event, Thread

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from trident_training.finetune.epochs import rank
from trident_training.finetune.run import BEST, Result
from trident_training.finetune.sweep import Entry, Failed, Trained, attempt, folders_of
from trident_training.finetune.tuning import held, killed_trial

#: Attributes of a trial: what it trains, for whom, that its process lives, and what came of it.
CANDIDATE, CLAIM, ALIVE, RESULT, FAILURE = "candidate", "claim", "alive", "result", "failure"
#: How often a process says that it lives, and looks at what the others do; silent so long, one is taken for dead.
SECONDS_BETWEEN_SIGNS, SECONDS_BETWEEN_LOOKS, SECONDS_OF_SILENCE = 10.0, 3.0, 60.0


def share(
    study: optuna.Study,
    candidates: Mapping[str, Callable[[Path], Result]],
    output: Path,
    on_entry: Callable[[Entry], None],
    on_waiting: Callable[[list[str]], None],
) -> list[Entry]:
    """Run what no other process runs, wait for what others do, and return the entries of all.

    Args:
        study: from :func:`~trident_training.finetune.tuning.open_study`; all its processes have the same candidates.
        candidates: by name, what runs a fine-tuning in a folder, or goes on with it, or returns its result.
        output: the folder of this process' folders; of several processes, where they share a disk.
        on_entry: called with every entry that was made here.
        on_waiting: called with the candidates that others run, once, where there are any at the end.

    Raises:
        ValueError: two candidates would share a folder.
    """
    folders = folders_of(candidates, output)
    heard: dict[int, tuple[object, float]] = {}
    waiting = False
    # What failed is tried again, as by the same command without a study.
    failed = {name: trial.number for name, trial in _newest(study).items() if trial.state is TrialState.FAIL}
    while True:
        with _next_trial(study, candidates, output, failed) as trial:
            if trial is not None:
                _run(study, trial, candidates, folders, on_entry)
                continue
        newest = _newest(study)
        running = [name for name in candidates if not newest[name].state.is_finished() or _is_lost(newest[name])]
        if not running:
            return [_entry(newest[name], folders[name]) for name in candidates]
        if not waiting:
            on_waiting(running)
            waiting = True
        time.sleep(SECONDS_BETWEEN_LOOKS)
        _give_up_the_silent(study, heard)


def _run(
    study: optuna.Study,
    trial: Trial,
    candidates: Mapping[str, Callable[[Path], Result]],
    folders: Mapping[str, Path],
    on_entry: Callable[[Entry], None],
) -> None:
    name = trial.user_attrs[CANDIDATE]
    with _giving_signs(trial):
        entry = attempt(name, candidates[name], folders[name])
    # Unless this process was given up meanwhile: then it is another one's.
    with suppress(UpdateFinishedTrialError):
        if isinstance(entry, Failed):
            trial.set_user_attr(FAILURE, entry.reason)
            study.tell(trial.number, state=TrialState.FAIL)
        else:
            result = entry.result
            trial.set_user_attr(RESULT, asdict(result) | {"best": None})
            study.tell(trial.number, rank(result.best_epoch, result.primary)[0])
        on_entry(entry)


@contextmanager
def _next_trial(
    study: optuna.Study, candidates: Iterable[str], output: Path, failed: Mapping[str, int]
) -> Iterator[Trial | None]:
    """Yield a trial of a killed process, or one of a candidate that nobody runs or ran, or None."""
    with killed_trial(study, output) as killed:
        if killed is not None:
            yield killed
            return
    for name in candidates:
        before = _newest(study).get(name)
        if before is None or _is_lost(before) or before.number == failed.get(name):
            trial = _claim(study, name, before)
            if trial is not None:
                with held(output, trial.number):
                    yield trial
                    return
    yield None


def _claim(study: optuna.Study, name: str, before: FrozenTrial | None) -> Trial | None:
    """Begin a candidate's trial; return None where another process was first.

    The numbers of trials are given out one after the other, and a trial is there as a whole: so that of two that are
    begun at the same time, both processes see the one with the smaller number. SQLite has no other lock.
    """
    claim = uuid.uuid4().hex
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={CANDIDATE: name, CLAIM: claim}))
    since = [trial for trial in study.get_trials(deepcopy=False) if before is None or trial.number > before.number]
    first, *others = [
        trial for trial in since if trial.user_attrs.get(CANDIDATE) == name and trial.state is not TrialState.PRUNED
    ]
    mine = next(trial for trial in (first, *others) if trial.user_attrs[CLAIM] == claim)
    if mine is not first:
        study.tell(mine.number, state=TrialState.PRUNED)
        return None
    return Trial(study, mine._trial_id)


def _newest(study: optuna.Study) -> dict[str, FrozenTrial]:
    """Return each candidate's trial that has a result, or else its last one, but none of a process that came second."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state is not TrialState.PRUNED]
    trials.sort(key=lambda trial: trial.state is TrialState.COMPLETE)
    return {trial.user_attrs[CANDIDATE]: trial for trial in trials}


def _is_lost(trial: FrozenTrial) -> bool:
    return trial.state is TrialState.FAIL and FAILURE not in trial.user_attrs


def _give_up_the_silent(study: optuna.Study, heard: dict[int, tuple[object, float]]) -> None:
    """Mark trials as failed whose process gives no sign; ``heard`` keeps each one's last sign, and when it was new."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        sign = trial.user_attrs.get(ALIVE)
        before, since = heard.setdefault(trial.number, (sign, time.monotonic()))
        if sign != before:
            heard[trial.number] = (sign, time.monotonic())
        elif time.monotonic() - since > SECONDS_OF_SILENCE:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


@contextmanager
def _giving_signs(trial: Trial) -> Iterator[None]:
    """Let the others know that the trial's process lives."""
    ended = Event()

    def give() -> None:
        while not ended.is_set():
            # A database that is away for a moment misses one.
            with suppress(Exception):
                trial.set_user_attr(ALIVE, time.time())
            ended.wait(SECONDS_BETWEEN_SIGNS)

    thread = Thread(target=give, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _entry(trial: FrozenTrial, folder: Path) -> Entry:
    name, found = trial.user_attrs[CANDIDATE], trial.user_attrs.get(RESULT)
    if found is None:
        return Failed(name, trial.user_attrs[FAILURE])
    return Trained(name, Result(**found | {"best": folder / BEST}))
