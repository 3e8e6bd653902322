"""Reads Triton's log: which models were loaded, and which lines say why a start failed."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

# A failure is explained at the end of a log; with verbose logging the rest can be gigabytes.
TAIL_BYTES = 4_000_000
MOST_LINES = 20

LOADED = re.compile(r"successfully loaded '([^']+)'")
# `E1121 04:31:55.118666 9369 model_lifecycle.cc:642] "what happened"`, the message in C escapes.
LINE = re.compile(r'^(?P<severity>[IWEF])\d{4} [\d:.]+ \d+ \S+\] "?(?P<message>.*?)"?$')
# Rows of the table of models; a status of several lines continues in rows without a model.
ROW = re.compile(r"^\| (?P<model>.*?) *\| (?P<version>[\d-]*) *\| (?P<status>.*?) *\|$")
FAILED = "UNAVAILABLE: "
OTHER_REASON = re.compile(
    r"^error: (?!creating server)|: error while loading shared libraries: |: unrecognized option |^terminate called"
    r"|^Traceback"
)
# The help that follows a wrong option is no reason.
USAGE = re.compile(r"^Usage: ")
# A machine without a GPU is no error.
HARMLESS = re.compile(r"CudaDriverHelper|NVML|DCGM")


class LogFollower:
    """Yields the names of models as their load lines arrive in a growing log file."""

    def __init__(self, file: Path) -> None:
        self._log = file.open("rb")
        self._rest = b""

    def newly_loaded(self) -> Iterator[str]:
        """Yield models loaded since the last call; a line that is still being written waits for the next one."""
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        for line in lines:
            yield from LOADED.findall(line.decode(errors="replace"))

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def read_tail(file: Path, start: int = 0) -> list[str]:
    """Return the last lines of a log that stand behind its first ``start`` bytes, none when there is no log."""
    if not file.exists():
        return []
    size = file.stat().st_size
    with file.open("rb") as log:
        # Who rotates logs may have cut it off.
        log.seek(max(0, size - TAIL_BYTES, start if start <= size else 0))
        return log.read().decode(errors="replace").splitlines()


def failure_reasons(lines: Iterable[str]) -> list[str]:
    """Return what a Triton log says about why it failed.

    That is the models that could not be loaded, each with its reason; without any, the lines logged as errors; without
    any, the log's last lines. At most ``MOST_LINES``, the last ones.
    """
    lines = list(lines)
    reasons = _failed_models(lines) or _errors(lines) or [line for line in lines if line.strip()]
    return reasons[-MOST_LINES:]


def _failed_models(lines: list[str]) -> list[str]:
    reasons: list[str] = []
    inside = False
    for line in lines:
        row = ROW.match(line)
        if row is None:
            inside = False
        elif row["model"]:
            inside = row["status"].startswith(FAILED)
            if inside:
                reasons.append(f"{row['model']}: {row['status'].removeprefix(FAILED)}")
        elif inside and row["status"]:
            reasons.append(f"    {row['status']}")
    return reasons


def _errors(lines: list[str]) -> list[str]:
    reasons: list[str] = []
    inside = False
    for line in lines:
        entry = LINE.match(line)
        if entry is not None:
            inside = entry["severity"] in "EF" and not HARMLESS.search(line)
        elif USAGE.search(line):
            inside = False
        elif not inside:
            inside = bool(OTHER_REASON.search(line)) and not HARMLESS.search(line)
        if inside and line.strip():
            reasons.extend(_plain(entry["message"]).splitlines() if entry else [line])
    return list(dict.fromkeys(reasons))


def _plain(message: str) -> str:
    with contextlib.suppress(json.JSONDecodeError):
        return str(json.loads(f'"{message}"'))
    return message
