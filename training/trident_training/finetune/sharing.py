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

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from trident_training.finetune import signs
from trident_training.finetune.epochs import rank
from trident_training.finetune.run import BEST, Result
from trident_training.finetune.signs import Watch, giving_signs
from trident_training.finetune.sweep import Entry, Failed, Trained, attempt, folders_of
from trident_training.finetune.tuning import held, killed_trial

#: Attributes of a trial: what it trains, for whom, and what came of it.
CANDIDATE, CLAIM, RESULT, FAILURE = "candidate", "claim", "result", "failure"


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
    watch = Watch(study)
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
        time.sleep(signs.SECONDS_BETWEEN_LOOKS)
        watch.give_up_the_silent()


def _run(
    study: optuna.Study,
    trial: Trial,
    candidates: Mapping[str, Callable[[Path], Result]],
    folders: Mapping[str, Path],
    on_entry: Callable[[Entry], None],
) -> None:
    name = trial.user_attrs[CANDIDATE]
    with giving_signs(trial):
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


def _entry(trial: FrozenTrial, folder: Path) -> Entry:
    name, found = trial.user_attrs[CANDIDATE], trial.user_attrs.get(RESULT)
    if found is None:
        return Failed(name, trial.user_attrs[FAILURE])
    return Trained(name, Result(**found | {"best": folder / BEST}))
