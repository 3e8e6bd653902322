"""Starts a server that died again, after pauses that grow, and gives up when it dies too often."""

from __future__ import annotations

import time
from collections.abc import Callable

from trident_server.child import ChildServer
from trident_server.errors import ServerDiedError, ServerError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# Who served this long is taken for well: what was before is forgotten.
STEADY_SECONDS = 300.0


class Restarter:
    """Looks after one server.

    Args:
        server: it runs when it is looked at for the first time.
        most: how often it is started again before it has served for :data:`STEADY_SECONDS`.
        say: called with what happened, for the person at the terminal.
        sleep: waits so many seconds.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        server: ChildServer,
        most: int,
        say: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._most = most
        self._say = say
        self._sleep = sleep
        self._clock = clock
        self._times = 0
        self._serves_since = clock()

    def check(self) -> None:
        """Start the server again where it has died; return when it is ready.

        Raises:
            ServerError: it died, or could not be started, once more than it may; the last reason.
        """
        try:
            self._server.check()
        except ServerDiedError as death:
            if self._clock() - self._serves_since > STEADY_SECONDS:
                self._times = 0
            self._start_again(death)

    def _start_again(self, reason: ServerError) -> None:
        while True:
            # What is left of it has its ports and its shared memory.
            self._server.stop()
            if self._times >= self._most:
                raise reason
            pause = min(FIRST_PAUSE_SECONDS * 2**self._times, LONGEST_PAUSE_SECONDS)
            self._times += 1
            self._say(f"{reason}\nStarting it again in {pause:g} s ({self._times} of {self._most}) ...")
            self._sleep(pause)
            try:
                self._server.start()
            # Whatever it is: who took its port, or filled the disk, may be gone after the next pause.
            except ServerError as failure:
                reason = failure
                continue
            self._serves_since = self._clock()
            self._say(f"{self._server.NAME} is ready again.")
            return
