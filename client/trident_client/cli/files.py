"""Files of rows into files of answers: one, or each of many, in this process or on Ray's workers.

Of many, one is done when its output is there, which appears when it is complete; so a run does what none before it did.
"""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident_client import TridentClient
from trident_client._extras import requirement
from trident_client.cli.failures import UsageError
from trident_client.cli.places import Place, Remote, is_below, local_copy, version_of
from trident_client.cli.processing import Report, RowProcessor
from trident_client.cli.readers import ENDINGS, Row, Source, kind_of, open_source
from trident_client.cli.tasks import Task

OnRow = Callable[[Row, str | None], None]
#: Called with how many rows of all files are done.
OnRows = Callable[[int], None]
#: Called with how many rows of one file are done, and how much of it that is, 0 to 1.
OnPart = Callable[[int, float], None]
#: What became of a file, or why nothing did.
Outcome = Report | UsageError
ROWS_PER_CALL = 256
#: Seconds between two looks at how far Ray's workers are.
INTERVAL = 0.5


@dataclass(frozen=True)
class FileAnswering:
    """How a file is answered; cloudpickle takes it to a worker.

    Attributes:
        task: what is asked.
        client: who is asked.
        columns: names of the columns that hold the texts; the task's own names when None.
        format: how a file is read, whatever its ending.
        settings: further options that change the answers.
        resume: whether to go on where a run with the same file and settings stopped.
    """

    task: Task
    client: TridentClient
    columns: list[str] | None = None
    format: str | None = None
    settings: dict[str, Any] | None = None
    resume: bool = False

    def open(self, path: Place) -> Source:
        """Open a file of rows."""
        return open_source(path, self.format, self.task.names)

    def answer(self, source: Source, input: Place, output: Place, on_row: OnRow) -> Report:
        """Answer the rows of ``input``, which was opened as ``source``, into ``output``.

        Raises:
            UsageError: a file is not what was said; see :mod:`.readers` and :class:`.journal.Journal`.
            TridentError: the server failed.
        """
        processor = RowProcessor(self.task, self.client, self.columns, on_row)
        processor.check_columns(source)
        run: dict[str, Any] = {
            "command": self.task.name,
            "model": self.task.model,
            "columns": self.columns,
            "settings": self.settings,
            "format": self.format,
            "input": version_of(input),
        }
        kind = output_kind(output)
        with local_copy(output) as file:
            return processor.to_file(source, lambda: self.open(input), file, kind, run, self.resume)

    def one_of_many(self, input: Place, output: Place, on_part: OnPart) -> Outcome:
        """Do the same with a file that is not open; return why it cannot be, so that the others are answered."""
        rows = 0

        def count(row: Row, problem: str | None) -> None:
            nonlocal rows
            rows += 1
            if rows % ROWS_PER_CALL == 0:
                on_part(rows, source.fraction_read() or 0.0)

        try:
            if isinstance(output, Path):
                output.parent.mkdir(parents=True, exist_ok=True)
            with closing(self.open(input)) as source:
                return self.answer(source, input, output, count)
        except UsageError as error:
            return error


@dataclass
class Files:
    """Which files are answered into which, and how much of them is done.

    Attributes:
        wanted: inputs and their outputs, where these are missing.
        before: how many are there.
        weights: how much each of the wanted has to do: its rows, or its bytes.
        rows: how many rows are done.
    """

    wanted: list[tuple[Place, Place]]
    before: int
    weights: list[int]
    rows: int = 0
    _weight_done: float = 0.0
    _parts: dict[Place, tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look weights up by file."""
        self._by_file = {input: weight for (input, _), weight in zip(self.wanted, self.weights, strict=True)}

    def tell(self, input: Place, rows: int, fraction: float) -> None:
        """Note how much of one file is done; less than before where it is begun again."""
        rows_before, fraction_before = self._parts.get(input, (0, 0.0))
        self._parts[input] = rows, fraction
        self.rows += rows - rows_before
        self._weight_done += (fraction - fraction_before) * self._by_file[input]

    def tell_end(self, input: Place, outcome: Outcome) -> None:
        """Note that a file is done, or given up."""
        self.tell(input, outcome.rows if isinstance(outcome, Report) else 0, 1.0)

    def fraction_read(self) -> float:
        """Return how much of them is done, 0 to 1."""
        return min(self._weight_done / max(sum(self.weights), 1), 1.0)


def names_many(input: Place) -> bool:
    """Say whether a path or URI is a folder or a pattern."""
    if isinstance(input, Remote):
        return input.is_pattern() or input.is_dir()
    return input.is_dir() or (glob.has_magic(str(input)) and not input.exists())


def find(input: Place, output: Place) -> Files:
    """Return the files of a folder or pattern; below ``output`` they stand as below its part without a wildcard.

    Raises:
        UsageError: there are none, or one would be overwritten.
    """
    root, sizes = _remote_sizes(input) if isinstance(input, Remote) else _local_sizes(input)
    names = list(sizes)
    if is_below(root, output) and any(is_below(output / name, root) for name in names):
        raise UsageError("--output would overwrite --input")
    if is_below(output, root):
        # What runs before this one answered is no input.
        names = [name for name in names if not is_below(root / name, output)]
    if not names:
        raise UsageError(f"--input {input} names no file")
    there = _there(output, names)
    missing = [name for name in names if name not in there]
    wanted = [(root / name, output / name) for name in missing]
    weights = _rows([input for input, _ in wanted]) or [sizes[name] for name in missing]
    return Files(wanted, len(names) - len(missing), weights)


def _local_sizes(input: Path) -> tuple[Path, dict[str, int]]:
    if input.is_dir():
        root, names = input, [each.name for each in input.iterdir() if each.suffix.lower() in ENDINGS]
    else:
        fixed = next(place for place, part in enumerate(input.parts) if glob.has_magic(part))
        root, pattern = Path(*input.parts[:fixed]), os.path.join(*input.parts[fixed:])
        names = glob.glob(pattern, root_dir=root, recursive=True)
    return root, {name: (root / name).stat().st_size for name in sorted(names) if (root / name).is_file()}


def _remote_sizes(input: Remote) -> tuple[Remote, dict[str, int]]:
    root, found = input.find()
    many = input.is_pattern()
    return root, {name: size for name, size in found.items() if many or Path(name).suffix.lower() in ENDINGS}


def _rows(inputs: list[Place]) -> list[int]:
    """Return how many rows files have, as Parquet on this machine tells at once; nothing where not all are that."""
    files = [each for each in inputs if isinstance(each, Path) and each.suffix.lower() == ".parquet"]
    if len(files) < len(inputs):
        return []
    from trident_client.cli.parquet import count_rows

    return [count_rows(each) for each in files]


def _there(output: Place, names: list[str]) -> set[str]:
    """Return the names of the files that a folder has."""
    if isinstance(output, Path):
        return {name for name in names if (output / name).exists()}
    # One question for all: an object storage takes long for each.
    return set(names) & set(output.resolve().files(recursive=any("/" in name for name in names)))


def output_kind(output: Place) -> str:
    """Return the format that a file is written in; what it needs is missed here, before a row is asked for."""
    kind = kind_of(output)
    if kind == "parquet":
        importlib.import_module("trident_client.cli.parquet")
    return "jsonl" if kind == "lines" else kind


def here(job: FileAnswering, files: Files, on_rows: OnRows) -> Iterator[tuple[Place, Outcome]]:
    """Answer one file after the other; ``on_rows`` is called with the rows of all that are done so far."""
    for input, output in files.wanted:

        def on_part(rows: int, fraction: float, input: Place = input) -> None:
            files.tell(input, rows, fraction)
            on_rows(files.rows)

        outcome = job.one_of_many(input, output, on_part)
        files.tell_end(input, outcome)
        on_rows(files.rows)
        yield input, outcome


def on_ray(job: FileAnswering, files: Files, on_rows: OnRows) -> Iterator[tuple[Place, Outcome]]:
    """Answer files on the workers of Ray's cluster (``RAY_ADDRESS``), or of one that is started here, as they come.

    A file whose worker died is answered again, by another one.

    Raises:
        UsageError: Ray is not installed, or gave a file up.
        TridentError: the server failed.
    """
    try:
        import ray
    except ModuleNotFoundError:
        wanted = requirement("cli", "ray")
        raise UsageError(f"--engine ray needs the package ray: pip install '{wanted}'") from None
    if not ray.is_initialized():
        ray.init(logging_level="warning", log_to_driver=False)
    parts = ray.remote(num_cpus=0, max_restarts=-1)(_Parts).remote()

    def answer(input: Place, output: Place) -> Outcome:
        return job.one_of_many(input, output, lambda *part: parts.set.remote(input, part))

    remote = ray.remote(answer)
    pending = {remote.remote(input, output): input for input, output in files.wanted}
    unfinished = set(pending.values())
    while pending:
        done, _ = ray.wait(list(pending), timeout=INTERVAL)
        for input, part in ray.get(parts.take.remote()).items():
            # What a worker told before it ended may come after its end.
            if input in unfinished:
                files.tell(input, *part)
        for each in done:
            input = pending.pop(each)
            try:
                outcome = ray.get(each)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise UsageError(f"Ray gave {input} up: {error}") from error
            unfinished.remove(input)
            files.tell_end(input, outcome)
            yield input, outcome
        on_rows(files.rows)


class _Parts:
    """How much of each file is done, as workers tell it; by file, for one whose worker died is counted anew."""

    def __init__(self) -> None:
        self._latest: dict[Place, tuple[int, float]] = {}

    def set(self, input: Place, part: tuple[int, float]) -> None:
        self._latest[input] = part

    def take(self) -> dict[Place, tuple[int, float]]:
        """Return what was told since this was asked."""
        latest, self._latest = self._latest, {}
        return latest


#: What files are answered on.
ENGINES = {"here": here, "ray": on_ray}
