"""Whether the processes that run a study's trials live: each gives signs, and who is silent for long is taken for dead.

No clock is compared with another host's: each process notes by its own when it first saw a sign.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import optuna
from optuna.trial import Trial, TrialState

#: A trial's attribute: the last sign of its process.
ALIVE = "alive"
#: How often a process says that it lives, and looks at what the others do; silent so long, one is taken for dead.
SECONDS_BETWEEN_SIGNS, SECONDS_BETWEEN_LOOKS, SECONDS_OF_SILENCE = 10.0, 3.0, 60.0


@contextmanager
def giving_signs(trial: Trial) -> Iterator[None]:
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


class Watch:
    """What is heard, from now on, of the trials that other processes run.

    Args:
        study: whose trials.
    """

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        # Of each trial its last sign, and when it was new here; and those of which there was a second one.
        self._heard: dict[int, tuple[object, float]] = {}
        self._living: set[int] = set()

    def give_up_the_silent(self) -> bool:
        """Mark trials as failed whose process is silent; say whether all others that run have given a sign."""
        running = self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        for trial in running:
            sign, now = trial.user_attrs.get(ALIVE), time.monotonic()
            before, since = self._heard.setdefault(trial.number, (sign, now))
            if sign != before:
                self._heard[trial.number] = (sign, now)
                self._living.add(trial.number)
            elif now - since > SECONDS_OF_SILENCE:
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return {trial.number for trial in running} <= self._living
