"""What is measured: levels of concurrency, and of request rate."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from trident_bench.errors import BenchError

Mode = Literal["concurrency", "rate"]
Protocol = Literal["http", "grpc", "facade"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
#: More requests under way than any of the servers lets in.
MOST_CONCURRENCY = 4096
#: More requests a second than perf_analyzer can time on a few cores.
LEAST_RATE, MOST_RATE = 0.1, 100_000
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
    """Return the levels of ``1,4,16``, or of ``1:64`` (doubled from 1 to 64).

    Raises:
        BenchError: it is none of these.
    """
    compact = text.replace(" ", "")
    if not compact or compact == "none":
        return []
    numbers = [int(each) for each in re.split("[,:]", compact)] if re.fullmatch(r"\d+(,\d+)*|\d+:\d+", compact) else []
    if (
        not numbers
        or min(numbers) < 1
        or max(numbers) > MOST_CONCURRENCY
        or (":" in compact and numbers[0] > numbers[1])
    ):
        accepted = f"whole numbers from 1 to {MOST_CONCURRENCY} as 1,4,16, or rising as 1:64 (doubled); or none"
        raise BenchError(f"'{text}' is no range of concurrency; accepted are {accepted}.")
    if ":" in compact:
        first, last = numbers
        numbers = [*(first << step for step in range(int(math.log2(last / first)) + 1)), last]
    return [Level("concurrency", float(each)) for each in sorted(set(numbers))]


def parse_rates(text: str) -> Rates:
    """Return the rates of ``50,100`` (requests a second) or ``50%,90%`` (of the highest throughput measured).

    Raises:
        BenchError: it is neither.
    """
    compact = text.replace(" ", "")
    if not compact or compact == "none":
        return Rates((), shares=False)
    number = r"\d+(\.\d+)?"
    shares = bool(re.fullmatch(f"{number}%(,{number}%)*", compact))
    values = (
        [float(each.rstrip("%")) for each in compact.split(",")]
        if shares or re.fullmatch(f"{number}(,{number})*", compact)
        else []
    )
    if not values or min(values) < LEAST_RATE or max(values) > (MOST_SHARE if shares else MOST_RATE):
        accepted = (
            f"accepted are requests a second, up to {MOST_RATE:,}, as 50,100, "
            f"or shares of the highest throughput, up to {MOST_SHARE}%, as 50%,90%; or none"
        )
        raise BenchError(f"'{text}' is no list of request rates; {accepted}.")
    return Rates(tuple(sorted(set(values))), shares)


def parse_protocols(text: str) -> list[Protocol]:
    """Return the protocols of ``http,grpc,facade``, in the order given.

    Raises:
        BenchError: one is unknown, or there is none.
    """
    names = dict.fromkeys(each.strip() for each in text.split(",") if each.strip())
    if not names or not names.keys() <= set(PROTOCOLS):
        raise BenchError(f"'{text}' names no protocols; accepted are {', '.join(PROTOCOLS)}, separated by commas.")
    return [each for each in PROTOCOLS if each in names]
