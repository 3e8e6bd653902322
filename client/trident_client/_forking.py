"""What a child process gets of its parent by fork, and must not use: sockets, threads, locks, shared memory.

Fork copies all of it and gives the child nothing of its own: two processes that read one socket take each other's
answers, and a lock that a thread of the parent's held is never released. Whoever owns such things registers here, and
makes them anew in the child before anything else runs there. The parent's are neither closed nor unregistered.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

#: What must not be freed in a child: it would be closed, and what closing waits for are threads of the parent's.
KEPT: list[object] = []


class Owner(Protocol):
    """Owns what a child process must not use."""

    def after_fork(self) -> None:
        """In the child: let go of it without closing it."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def register(owner: Owner) -> None:
    """Have an object told of every fork, for as long as it lives."""
    _owners.add(owner)


def _after_fork() -> None:
    # A list, so that none is freed before it was told.
    for owner in list(_owners):
        owner.after_fork()


if hasattr(os, "register_at_fork"):  # Not on Windows, where nothing forks.
    os.register_at_fork(after_in_child=_after_fork)
