"""What is measured: levels of concurrency, and of request rate."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trident_bench.errors import BenchError

Mode = Literal["concurrency", "rate"]
Protocol = Literal["http", "grpc", "facade"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
#: More requests under way than any of the servers lets in.
MOST_CONCURRENCY = 4096
#: More requests a second than perf_analyzer can time on a few cores.
MOST_RATE = 100_000
#: Of the highest throughput: beyond twice of it every generator but fills queues.
MOST_SHARE = 200


@dataclass(frozen=True)
class Level:
    """One point of a sweep.

    Attributes:
        mode: ``concurrency`` keeps so many requests under way (closed loop); ``rate`` sends so many a second, at times
            drawn from a Poisson process, whether or not the earlier ones were answered (open loop).
        value: how many.
    """

    mode: Mode
    value: float

    def __str__(self) -> str:
        return f"{self.mode} {self.value:g}"

    @property
    def slug(self) -> str:
        """Its name as a file."""
        return f"{self.mode}-{self.value:g}"


@dataclass(frozen=True)
class Rates:
    """Request rates, either in requests a second or as shares of the highest throughput of the concurrency sweep."""

    values: tuple[float, ...]
    shares: bool

    def levels(self, highest: float | None) -> list[Level]:
        """Return the levels, given the highest throughput measured; none for shares of what was not measured."""
        if not self.shares:
            return [Level("rate", value) for value in self.values]
        # To three digits: nobody reads more of them, and file names stay short.
        return [Level("rate", float(f"{highest * value / 100:.3g}")) for value in self.values] if highest else []


def parse_concurrency(text: str) -> list[Level]:
    """Return the levels of ``1,4,16``, of ``1:64`` (doubled from 1 to 64) or of ``1:9:2`` (in steps of 2).

    Raises:
        BenchError: it is none of these.
    """
    said = text.replace(" ", "")
    if not said or said == "none":
        return []
    accepted = (
        f"accepted are whole numbers from 1 to {MOST_CONCURRENCY} as 1,4,16, as 1:64 (doubled) or as 1:9:2; or none"
    )
    if not re.fullmatch(r"\d+(,\d+)*|\d+:\d+(:\d+)?", said):
        raise BenchError(f"'{text}' is no range of concurrency; {accepted}.")
    numbers = [int(each) for each in re.split("[,:]", said)]
    if ":" in said:
        start, end, *step = numbers
        if start < 1 or end < start or step == [0]:
            raise BenchError(f"'{text}' is no range of concurrency: it must rise from 1 or more; {accepted}.")
        numbers = list(range(start, end + 1, step[0])) if step else _doubled(start, min(end, MOST_CONCURRENCY + 1))
    _check(numbers, 1, MOST_CONCURRENCY, f"'{text}' is no range of concurrency; {accepted}.")
    return [Level("concurrency", float(each)) for each in sorted(set(numbers))]


def parse_rates(text: str) -> Rates:
    """Return the rates of ``50,100`` (requests a second) or ``50%,90%`` (of the highest throughput measured).

    Raises:
        BenchError: it is neither.
    """
    said = text.replace(" ", "")
    if not said or said == "none":
        return Rates((), shares=False)
    number = r"\d+(\.\d+)?"
    accepted = (
        f"accepted are requests a second, up to {MOST_RATE:,}, as 50,100, "
        f"or shares of the highest throughput, up to {MOST_SHARE}%, as 50%,90%; or none"
    )
    shares = bool(re.fullmatch(f"{number}%(,{number}%)*", said))
    if not shares and not re.fullmatch(f"{number}(,{number})*", said):
        raise BenchError(f"'{text}' is no list of request rates; {accepted}.")
    values = [float(each.rstrip("%")) for each in said.split(",")]
    _check(values, 0.1, MOST_SHARE if shares else MOST_RATE, f"'{text}' is no list of request rates; {accepted}.")
    return Rates(tuple(sorted(set(values))), shares)


def parse_protocols(text: str) -> list[Protocol]:
    """Return the protocols of ``http,grpc,facade``, in the order given.

    Raises:
        BenchError: one is unknown, or there is none.
    """
    said = dict.fromkeys(each.strip() for each in text.split(",") if each.strip())
    unknown = [each for each in said if each not in PROTOCOLS]
    if unknown or not said:
        raise BenchError(f"'{text}' names no protocols; accepted are {', '.join(PROTOCOLS)}, separated by commas.")
    return [each for each in PROTOCOLS if each in said]


def _doubled(start: int, end: int) -> list[int]:
    steps = int(math.log2(end / start))
    return sorted({*(start << step for step in range(steps + 1)), end})


def _check(values: Sequence[float], least: float, most: float, message: str) -> None:
    if min(values) < least or max(values) > most:
        raise BenchError(message)
