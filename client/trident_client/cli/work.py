"""Rows in, answered rows out: through the server, in order, with a few batches in memory."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from trident_client import TridentClient
from trident_client.cli.failures import UsageError
from trident_client.cli.journal import Journal
from trident_client.cli.readers import Row, Source
from trident_client.cli.tasks import Task, explain
from trident_client.cli.writers import JsonWriter, OutputFile, make_writer

# What a reader makes of such bytes.
NOT_UTF8 = re.compile("[\udc80-\udcff]")


@dataclass
class Report:
    """What became of the rows.

    Attributes:
        rows: how many this run asked for.
        taken_up: how many an earlier run had answered.
        bad: how many have no answer, of both.
        cut: numbers of the first rows of which a text was longer than the model takes.
        cut_in_all: how many such rows.
    """

    rows: int = 0
    taken_up: int = 0
    bad: int = 0
    cut: list[int] = field(default_factory=list)
    cut_in_all: int = 0


@dataclass(frozen=True)
class Work:
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

    def answered(self, rows: Iterable[Row], report: Report) -> Iterator[tuple[Row, dict[str, Any] | None, str | None]]:
        """Yield each row with its answer's fields or its problem, in order."""
        pending: deque[tuple[Row, str | None]] = deque()
        refused: dict[int, str] = {}
        cut: set[int] = set()

        def items() -> Iterator[Any]:
            for row in rows:
                item, problem = self._item(row)
                pending.append((row, problem))
                if problem is None:
                    yield item

        def done(
            row: Row, result: dict[str, Any] | None, problem: str | None
        ) -> tuple[Row, dict[str, Any] | None, str | None]:
            report.rows += 1
            report.bad += problem is not None
            self.on_row(row, problem)
            return row, result, problem

        def bad_ones() -> Iterator[tuple[Row, dict[str, Any] | None, str | None]]:
            while pending and pending[0][1] is not None:
                row, problem = pending.popleft()
                yield done(row, None, problem)

        values = self.task.stream(
            self.client, items(), cut.update, lambda index, error: refused.update({index: explain(error)})
        )
        for index, value in enumerate(values):
            yield from bad_ones()
            row, _ = pending.popleft()
            if index in cut:
                cut.discard(index)
                report.cut_in_all += 1
                report.cut += [row.number] if len(report.cut) < 10 else []
            problem = refused.pop(index, None)
            yield done(row, None if problem else self.task.fields(value), problem)
        yield from bad_ones()

    def to_stream(self, rows: Iterable[Row], stream: IO[bytes], kind: str, source: Source | None) -> Report:
        """Write answered rows as they come; ``source`` tells the rows' columns, the task's own where it is None."""
        report = Report()
        columns = source.columns if source else self.task.names
        writer = make_writer(stream, kind, columns, self.task.results, source.schema if source else None)
        for row, result, problem in self.answered(rows, report):
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
            report.taken_up = journal.done
            for _, result, problem in self.answered(itertools.islice(source, journal.done, None), report):
                journal.add(result, problem)
            with closing(reopen()) as again, OutputFile(output) as stream:
                writer = make_writer(stream, kind, again.columns, self.task.results, again.schema)
                report.bad = 0
                for row, (result, problem) in zip(again, journal.outcomes(), strict=True):
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
        """Refuse a file none of whose columns holds the texts.

        Raises:
            UsageError: a column is missing; says which there are.
        """
        missing = [names for names in self._accepted() if not set(names) & set(source.columns)]
        if missing and source.columns:
            raise UsageError(
                f"there is no column {' or '.join(missing[0])}; there are {', '.join(source.columns)}. "
                f"Name the columns with --columns {','.join(self.task.names)}"
            )

    def _accepted(self) -> list[tuple[str, ...]]:
        return [(name,) for name in self.columns] if self.columns else list(self.task.columns)

    def _item(self, row: Row) -> tuple[Any, str | None]:
        if row.problem is not None:
            return None, row.problem
        texts = []
        for names in self._accepted():
            name = next((each for each in names if each in row.values), names[0])
            text = row.values.get(name)
            if not isinstance(text, str):
                found = "is missing" if text is None else f"is {text!r:.50}"
                return None, f"{name} {found}; text is accepted"
            if NOT_UTF8.search(text):
                return None, f"{name} holds bytes that are not UTF-8"
            texts.append(text)
        return (texts[0] if len(texts) == 1 else tuple(texts)), None
