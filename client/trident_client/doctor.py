"""``trident doctor``: what is missing or slow on this machine, and the command that mends it. Changes nothing.

Serving and training are looked at by those who serve and train. Their distribution names a function for each under the
entry-point group :data:`GROUP`; nothing of theirs is imported here before it is asked for, and found to be installed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from trident_client._extras import requirement
from trident_client._sync.client import TridentClient
from trident_client.errors import TridentError

if TYPE_CHECKING:
    from rich.console import Console

#: Of functions without arguments that yield findings.
GROUP = "trident.doctor"
#: Requests whose median duration is the way to the server and back, and seconds from which that is slow.
PROBES, SLOW_SECONDS = 5, 0.02
#: Packages that are told by name.
SHOWN = 5


class Part(Enum):
    """What a machine may be for."""

    CLIENT = "client"
    SERVING = "serving"
    TRAINING = "training"


#: What pip is asked for to have what is not the client's.
REQUIREMENTS = {Part.SERVING: "trident-nlp[server,api]", Part.TRAINING: "trident-nlp[training]"}


class State(Enum):
    """How one thing stands."""

    OK = "ok"
    #: Not there, and nobody said that it should be.
    ABSENT = "absent"
    SLOW = "slow"
    MISSING = "missing"


STYLES = {State.OK: "", State.ABSENT: "dim", State.SLOW: "yellow", State.MISSING: "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        state: how it stands.
        found: what is there.
        advice: what to do; empty where nothing is to be done.
    """

    subject: str
    state: State
    found: str
    advice: str = ""


def show(findings: Iterable[Finding], console: Console) -> bool:
    """Print findings, and say whether nothing is missing."""
    complete = True
    for each in findings:
        complete = complete and each.state is not State.MISSING
        console.print(f"{each.state.value:<8} {each.subject:<12} {each.found}", markup=False, style=STYLES[each.state])
        if each.advice:
            console.print(f"{'':<21} {each.advice}", markup=False)
    return complete


def packages(requirement: str, *, named: bool = True) -> Finding:
    """Look whether all that a requirement of pip's asks for is installed, in the versions that it asks for.

    Args:
        requirement: such as ``trident-nlp[training]``.
        named: whether somebody said that it should be.
    """
    if not (wrong := sorted(set(_wrong(Requirement(requirement), set())))):
        return Finding("packages", State.OK, f"all of {requirement}")
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    state = State.MISSING if named else State.ABSENT
    return Finding("packages", state, ", ".join(wrong[:SHOWN]) + more, f"pip install '{requirement}'")


def _wrong(wanted: Requirement, seen: set[str]) -> Iterator[str]:
    """Yield what is not as it is wanted, of a package and of what this project's own packages want in turn."""
    seen.add(str(wanted))
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        yield f"no {wanted.name}"
        return
    if not wanted.specifier.contains(version, prereleases=True):
        yield f"{wanted.name} {version}, and not {wanted.specifier}"
    if not wanted.name.startswith("trident-"):
        return
    for text in metadata.requires(wanted.name) or ():
        further = Requirement(text)
        environments = [{"extra": extra} for extra in ("", *wanted.extras)]
        if str(further) not in seen and (not further.marker or any(map(further.marker.evaluate, environments))):
            yield from _wrong(further, seen)


def examine(part: Part, ask: Callable[[], Iterator[Finding]], *, named: bool) -> Iterator[Finding]:
    """Yield what was found of one part, one thing after the other.

    Args:
        part: which.
        ask: looks for the client's server.
        named: whether somebody said that this machine is for it.
    """
    wanted = requirement("cli") if part is Part.CLIENT else REQUIREMENTS[part]
    yield (first := packages(wanted, named=named))
    if first.state is not State.OK:
        return
    if part is Part.CLIENT:
        yield from ask()
    for entry in metadata.entry_points(group=GROUP, name=part.value):
        yield from entry.load()()


def ask_server(client: TridentClient, url: str, *, named: bool) -> Iterator[Finding]:
    """Yield whether a server answers, how soon, and whether its models are ready.

    Args:
        client: of that server alone.
        url: of the server, as it is shown.
        named: whether somebody named it; where not, nobody need be there.
    """
    try:
        sets = [each.name for each in client.models()]
        seconds = statistics.median(_seconds(lambda: client.ready(sets[:1])) for _ in range(PROBES))
        ready = client.ready(sets)
    except TridentError as error:
        state = State.MISSING if named else State.ABSENT
        advice = "Start one here with `trident-serve` (`make serve` in a checkout), or name another with --url."
        yield Finding("server", state, f"none answers at {url}" + (f": {error}" if named else ""), advice)
        return
    found = f"{url} answers within {seconds * 1000:.1f} ms, serving {', '.join(sets)}"
    slow = "Each request waits so long: send lists, and several at once (--concurrency, AsyncTridentClient)."
    yield Finding("server", State.SLOW, found, slow) if seconds > SLOW_SECONDS else Finding("server", State.OK, found)
    if not ready:
        yield Finding("models", State.MISSING, "some do not answer", "trident ready --wait 60 tells when they do.")


def _seconds(call: Callable[[], object]) -> float:
    start = time.monotonic()
    call()
    return time.monotonic() - start
