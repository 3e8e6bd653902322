"""Rows in, answered rows out: through the server, in order, with a few batches in memory."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from trident_client import TridentClient
from trident_client.cli.failures import UsageError
from trident_client.cli.journal import Journal
from trident_client.cli.readers import Row, Source
from trident_client.cli.tasks import Task, explain
from trident_client.cli.writers import JsonWriter, OutputFile, make_writer
from trident_client.errors import BadInputError

#: Bad rows that wait for the answers of good ones before them.
MAX_PENDING_BAD = 4096
# What a reader makes of such bytes.
NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass
class Report:
    """What became of the rows.

    Attributes:
        rows: how many this run asked for.
        resumed: how many an earlier run had answered.
        bad: how many have no answer, of both.
        truncated_rows: numbers of the first rows of which a text was longer than the model takes.
        truncated: how many such rows.
        unknown_rows: numbers of the first rows with text that the model's vocabulary cannot read.
        unknown: how many such rows.
    """

    rows: int = 0
    resumed: int = 0
    bad: int = 0
    truncated_rows: list[int] = field(default_factory=list)
    truncated: int = 0
    unknown_rows: list[int] = field(default_factory=list)
    unknown: int = 0


#: A row, and its answer's fields or its problem.
Outcome = tuple[Row, dict[str, Any] | None, str | None]


@dataclass(frozen=True)
class RowProcessor:
    """How rows are answered.

    Attributes:
        task: what is asked.
        client: who is asked.
        columns: names of the columns that hold the texts; the task's own names when None.
        on_row: called with each row that is done, and its problem.
    """

    task: Task
    client: TridentClient
    columns: list[str] | None
    on_row: Callable[[Row, str | None], None]

    def answered(self, rows: Iterable[Row], report: Report) -> Iterator[Outcome]:
        """Yield each row with its answer's fields or its problem, in order."""
        remaining = iter(rows)
        pending: deque[tuple[Row, str | None]] = deque()
        pending_bad = 0

        def items() -> Iterator[Any]:
            nonlocal pending_bad
            for row in remaining:
                item, problem = self._item(row)
                pending.append((row, problem))
                if problem is None:
                    yield item
                    continue
                pending_bad += 1
                if pending_bad >= MAX_PENDING_BAD:
                    # Told before more are read, so that memory does not grow with them.
                    return

        def count(row: Row, result: dict[str, Any] | None, problem: str | None) -> Outcome:
            report.rows += 1
            report.bad += problem is not None
            self.on_row(row, problem)
            return row, result, problem

        def bad_rows() -> Iterator[Outcome]:
            nonlocal pending_bad
            while pending and pending[0][1] is not None:
                row, problem = pending.popleft()
                pending_bad -= 1
                yield count(row, None, problem)

        while True:
            rejected: dict[int, str] = {}
            truncated: set[int] = set()
            unknown: set[int] = set()
            values = self.task.stream(
                self.client, items(), truncated.update, unknown.update, partial(_reject, rejected)
            )
            for index, value in enumerate(values):
                yield from bad_rows()
                row, _ = pending.popleft()
                if index in truncated:
                    truncated.discard(index)
                    report.truncated += 1
                    report.truncated_rows += [row.number] if len(report.truncated_rows) < 10 else []
                if index in unknown:
                    unknown.discard(index)
                    report.unknown += 1
                    report.unknown_rows += [row.number] if len(report.unknown_rows) < 10 else []
                problem = rejected.pop(index, None)
                yield count(row, None if problem else self.task.fields(value), problem)
            if not pending:
                return
            yield from bad_rows()

    def to_stream(self, rows: Iterable[Row], stream: IO[bytes], kind: str, source: Source | None) -> Report:
        """Write answered rows as they come; ``source`` tells the rows' columns, the task's own where it is None."""
        report = Report()
        columns = source.columns if source else self.task.names
        writer = make_writer(stream, kind, columns, self.task.results, source.schema if source else None)
        if not isinstance(writer, JsonWriter):
            rows = _with_columns(rows, columns)
        answered = self.answered(rows, report)
        for row, result, problem in answered if self.task.top_n is None else _best(answered, self.task.top_n):
            writer.write(row.values, result, problem)
            if isinstance(writer, JsonWriter):
                writer.flush()
        writer.close()
        return report

    def to_file(
        self, source: Source, reopen: Callable[[], Source], output: Path, kind: str, run: dict[str, Any], resume: bool
    ) -> Report:
        """Answer a file's rows into another file, going on where an earlier run of the same was interrupted."""
        report = Report()
        with Journal(output, run, resume=resume) as journal:
            report.resumed = journal.count
            for _, result, problem in self.answered(itertools.islice(source, journal.count, None), report):
                journal.add(result, problem)
            with closing(reopen()) as reopened, OutputFile(output) as stream:
                # All columns are known now, also of JSON, whose later rows may have more than the first.
                writer = make_writer(stream, kind, source.columns, self.task.results, source.schema)
                report.bad = 0
                for row, (result, problem) in zip(reopened, journal.outcomes(), strict=True):
                    report.bad += problem is not None
                    writer.write(row.values, result, problem)
                writer.close()
            journal.remove()
        return report

    def check_model(self) -> None:
        """Refuse a set of models that does another task; all rows would be bad.

        Raises:
            UsageError: says which sets do this task.
        """
        if self.task.model == self.task.kind:
            return
        kinds = {each.name: each.task for each in self.client.models()}
        if kinds.get(self.task.model, self.task.kind) != self.task.kind:
            accepted = ", ".join(name for name, kind in kinds.items() if kind == self.task.kind)
            raise UsageError(f"--model {self.task.model} is not for {self.task.name}; accepted are {accepted}")

    def check_columns(self, source: Source) -> None:
        """Refuse a table none of whose columns holds the texts; in JSON, each row has its own.

        Raises:
            UsageError: a column is missing; says which there are.
        """
        if not source.has_header:
            return
        missing = [
            names for names in self._column_names()[: self.task.required] if not set(names) & set(source.columns)
        ]
        if missing and source.columns:
            raise UsageError(
                f"there is no column {' or '.join(missing[0])}; there are {', '.join(source.columns)}. "
                f"Name the columns with --columns {','.join(self.task.names)}"
            )

    def _column_names(self) -> list[tuple[str, ...]]:
        return [(name,) for name in self.columns] if self.columns else list(self.task.columns)

    def _item(self, row: Row) -> tuple[Any, str | None]:
        if row.problem is not None:
            return None, row.problem
        texts = []
        for place, names in enumerate(self._column_names()):
            name = next((each for each in names if each in row.values), names[0])
            text = row.values.get(name)
            if place >= self.task.required and (text is None or text == ""):
                continue
            if not isinstance(text, str):
                others = f"there are {', '.join(row.values)}" if row.values else "there are no others"
                reason = f"is {text!r:.50}; text is accepted" if name in row.values else f"is missing; {others}"
                return None, f"{name} {reason}"
            if NOT_UTF8.search(text):
                return None, f"{name} holds bytes that are not UTF-8"
            texts.append(text)
        return (texts[0] if len(texts) == 1 else tuple(texts)), None


def _reject(rejected: dict[int, str], index: int, error: BadInputError) -> None:
    rejected[index] = explain(error)


def _with_columns(rows: Iterable[Row], columns: list[str]) -> Iterator[Row]:
    """Yield rows; one with further columns, which a table that is being written has no place for, with that problem."""
    for row in rows:
        extra = [name for name in row.values if name not in columns]
        if extra:
            problem = f"no column {', '.join(extra)} in the rows before; give the file with --input, or write JSON"
            row = Row(row.number, row.values, row.problem or problem)
        yield row


def _best(outcomes: Iterable[Outcome], top_n: int) -> list[Outcome]:
    """Return so many rows with the best scores, the best first, and behind them those with a problem."""
    answered = list(outcomes)
    good = [each for each in answered if each[1] is not None]
    return sorted(good, key=lambda each: -(each[1] or {})["score"])[:top_n] + [
        each for each in answered if each[1] is None
    ]
