"""What is wrong with a data set: file, row and reason of each problem, told all at once."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Problems spelled out in full; the rest is counted.
SHOWN = 20


class DataError(ValueError):
    """A data set that cannot be used; the text names file, row and reason."""


def one_line(error: BaseException) -> str:
    """Return an error's kind and the first line of what it says, if it says anything."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one row.

    Attributes:
        file: the file or hub name, with its split.
        row: counted from 1, a header line not counted; None for the file as a whole.
        reason: what is wrong and what is accepted.
    """

    file: str
    row: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.row is None else f"{self.file}, row {self.row}: {self.reason}"


@dataclass
class Problems:
    """Collects problems, so that a user fixes a file once and not row by row."""

    found: list[Problem] = field(default_factory=list)

    def add(self, file: str, row: int | None, reason: str) -> None:
        """Note one problem."""
        self.found.append(Problem(file, row, reason))

    def check(self) -> None:
        """Raise what was found.

        Raises:
            DataError: anything was.
        """
        if self.found:
            raise DataError(listing([str(problem) for problem in self.found]))


def listing(lines: list[str]) -> str:
    """Return the first lines, and how many more there are."""
    rest = len(lines) - SHOWN
    return "\n".join([*lines[:SHOWN], *([f"... and {rest} more"] if rest > 0 else [])])
