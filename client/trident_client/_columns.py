"""Columns of texts to columns of answers, in Arrow: what the workers of Ray and Spark run.

A task here is its settings, so that it is pickled to the workers as they are; each worker process makes one client of
them when its first batch comes, and keeps it.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trident_client import contract
from trident_client._callbacks import OnBadItem
from trident_client._names import ERROR, unused_name
from trident_client._retry import Retry
from trident_client._sync.client import TridentClient
from trident_client._tasks import Truncate
from trident_client._types import Timeout
from trident_client.encoding import EncodingFormat
from trident_client.errors import BadInputError
from trident_client.text import as_text

#: Of each row.
Flags = npt.NDArray[np.bool_]
SPAN = pa.struct([("answer", pa.string()), ("score", pa.float32()), ("start", pa.int32()), ("end", pa.int32())])
#: An engine gives up a job where a batch fails, so a batch waits minutes for a server that is started again.
PATIENCE: dict[str, Any] = {
    "timeout": Timeout(deadline=300.0),
    "retry": Retry(attempts=1000, longest_wait=5.0, budget=1000),
}


@functools.cache
def _client(url: tuple[str, ...] | None, options: tuple[tuple[str, Any], ...]) -> TridentClient:
    """Return this process' client for some settings."""
    return TridentClient(url, **dict(options))


class ColumnTask(ABC):
    """A task over columns; a row that the model does not take has nulls, and the reason in the column ``error``.

    Args:
        url: ``host:port`` of Triton, or of several that serve the same models and share the load; where none is given,
            the one on each worker's own host.
        model: the set of models that is asked, as :meth:`trident_client.TridentClient.models` lists them; the task's
            own when None.
        columns: names of the columns that hold the texts, where they are not called as in :mod:`.contract`.
        options: further arguments of :class:`trident_client.TridentClient`. A batch waits up to five minutes for a
            server that cannot be reached, unless ``timeout`` and ``retry`` say otherwise.

    Raises:
        ValueError: as many columns are accepted as the task has texts.
    """

    task: ClassVar[contract.TaskSpec]
    ensemble: ClassVar[contract.Ensemble]
    #: The answer's columns, in their order, and their types.
    types: ClassVar[dict[str, pa.DataType]]

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        model: str | None = None,
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        names = [each.column for each in self.ensemble.inputs]
        self.columns = names if columns is None else list(columns)
        if len(self.columns) != len(names):
            raise ValueError(f"columns must name {len(names)}: {', '.join(names)}; got {self.columns}")
        self.model = model or self.task.name
        self._url = (url,) if isinstance(url, str) else None if url is None else tuple(url)
        self._options = tuple(sorted((PATIENCE | options).items()))

    @property
    def client(self) -> TridentClient:
        """This process' client."""
        return _client(self._url, self._options)

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return a table with the answers' columns behind its own, which keep their names.

        Raises:
            TypeError: what came is no table of Arrow.
            KeyError: it has no column of a text's name.
            TridentError: a server failed, or was away for too long.
        """
        if not isinstance(table, pa.Table):
            raise TypeError(f"a pyarrow.Table is accepted, got {type(table).__name__}; say batch_format='pyarrow'")
        for name, column in self.answers(*(table.column(each) for each in self.columns)).items():
            table = table.append_column(unused_name(name, table.column_names), column)
        return table

    def answers(self, *texts: pa.Array | pa.ChunkedArray) -> dict[str, pa.Array]:
        """Return the answers' columns, and behind them ``error``, for as many columns of texts as the task takes."""
        lists = [[as_text(value) for value in each.to_pylist()] for each in texts]
        items = lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))
        bad: dict[int, BadInputError] = {}
        values = list(self._stream(items, bad.__setitem__))
        reasons = [_reason(bad[place]) if place in bad else None for place in range(len(items))]
        taken = np.array([place not in bad for place in range(len(items))], dtype=bool)
        return {**self._arrays(values, taken), ERROR: pa.array(reasons, pa.string())}

    @abstractmethod
    def _stream(self, items: Iterable[Any], on_bad_item: OnBadItem) -> Iterator[Any]:
        """Ask for each item."""

    @abstractmethod
    def _arrays(self, values: list[Any], taken: Flags) -> dict[str, pa.Array]:
        """Return values as columns, null where an item was not taken."""


class Acceptability(ColumnTask):
    """``sentence`` to ``probability``, float32.

    Args:
        url: as all others but the next, see :class:`ColumnTask`.
        truncate: which end a sentence loses that is too long, ``right`` or ``left``; ``error`` refuses its row.
        settings: the others.
    """

    task, ensemble = contract.COLA, contract.COLA.main
    types: ClassVar = {"probability": pa.float32()}

    def __init__(
        self, url: str | Sequence[str] | None = None, *, truncate: Truncate = "right", **settings: Any
    ) -> None:
        super().__init__(url, **settings)
        self.truncate: Truncate = truncate

    def _stream(self, items: Iterable[Any], on_bad_item: OnBadItem) -> Iterator[Any]:
        return self.client.stream_acceptability(
            items, model=self.model, on_bad_item=on_bad_item, truncate=self.truncate
        )

    def _arrays(self, values: list[Any], taken: Flags) -> dict[str, pa.Array]:
        return {"probability": pa.array(np.array(values, np.float32), mask=~taken)}


class _Encoding(ColumnTask):
    """What reads texts as an encoder does: with a prompt, and not more than it takes."""

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        prompt_name: str | None = None,
        truncate: Truncate = "right",
        input_type: contract.InputType | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(url, **settings)
        self.reading: dict[str, Any] = {"prompt_name": prompt_name, "truncate": truncate, "input_type": input_type}


class Similarity(_Encoding):
    """``sentence_1`` and ``sentence_2`` to ``similarity``, float32.

    Args:
        url: as all others but the next three, see :class:`ColumnTask`.
        prompt_name: which of the set's prompts stands in front of a sentence; its default when None.
        truncate: which end one loses that is too long, ``right`` or ``left``; ``error`` refuses its row.
        input_type: what the sentences are, in place of ``prompt_name``.
        settings: the others.
    """

    task, ensemble = contract.STS, contract.STS.main
    types: ClassVar = {"similarity": pa.float32()}

    def _stream(self, items: Iterable[Any], on_bad_item: OnBadItem) -> Iterator[Any]:
        return self.client.stream_similarity(items, model=self.model, on_bad_item=on_bad_item, **self.reading)

    def _arrays(self, values: list[Any], taken: Flags) -> dict[str, pa.Array]:
        return {"similarity": pa.array(np.array(values, np.float32), mask=~taken)}


class Embed(_Encoding):
    """``text`` to ``embedding``, a list of float32, as many as the model has.

    Args:
        url: as all others but ``encoding_format``, see :class:`Similarity`.
        encoding_format: what its numbers are; see :meth:`trident_client.TridentClient.embed`.
        settings: the others.
    """

    task, ensemble = contract.STS, contract.EMBED

    def __init__(
        self, url: str | Sequence[str] | None = None, *, encoding_format: EncodingFormat = "float", **settings: Any
    ) -> None:
        super().__init__(url, **settings)
        self.reading["encoding_format"] = encoding_format
        self.numbers = {"float": pa.float32(), "ubinary": pa.uint8()}.get(encoding_format, pa.int8())

    @property
    def types(self) -> dict[str, pa.DataType]:  # type: ignore[override]
        """The answer's column, and its type."""
        return {"embedding": pa.list_(self.numbers)}

    def _stream(self, items: Iterable[Any], on_bad_item: OnBadItem) -> Iterator[Any]:
        return self.client.stream_embeddings(items, model=self.model, on_bad_item=on_bad_item, **self.reading)

    def _arrays(self, values: list[Any], taken: Flags) -> dict[str, pa.Array]:
        rows = [value for value, good in zip(values, taken, strict=True) if good]
        numbers = np.concatenate(rows) if rows else np.empty(0, self.numbers.to_pandas_dtype())
        ends = np.cumsum(taken) * (len(rows[0]) if rows else 0)
        offsets = pa.array(np.concatenate([[0], ends]), pa.int32())
        # Not lists of a fixed size: a null among them is written to Parquet as what Arrow cannot read (GH-35692).
        return {"embedding": pa.ListArray.from_arrays(offsets, numbers, mask=pa.array(~taken))}


class Answer(ColumnTask):
    """``question`` and ``context`` to ``answers``: the likeliest spans, the best first.

    Each is a struct of ``answer``, ``score``, ``start`` and ``end``, as :class:`trident_client.Answer` has them.

    Args:
        url: as all others but the next three, see :class:`ColumnTask`.
        top_k: answers wanted for each question.
        max_answer_tokens: tokens in the longest answer; 30 when None.
        no_answer: whether the model may say that there is none.
        settings: the others.
    """

    task, ensemble = contract.QA, contract.QA.main
    types: ClassVar = {"answers": pa.list_(SPAN)}

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        no_answer: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(url, **settings)
        self.top_k, self.max_answer_tokens, self.no_answer = top_k, max_answer_tokens, no_answer

    def _stream(self, items: Iterable[Any], on_bad_item: OnBadItem) -> Iterator[Any]:
        return self.client.stream_answers(
            items,
            self.top_k,
            model=self.model,
            max_answer_tokens=self.max_answer_tokens,
            no_answer=self.no_answer,
            on_bad_item=on_bad_item,
        )

    def _arrays(self, values: list[Any], taken: Flags) -> dict[str, pa.Array]:
        rows = zip(values, taken, strict=True)
        lists = [[span._asdict() for span in spans] if good else None for spans, good in rows]
        return {"answers": pa.array(lists, pa.list_(SPAN))}


def _reason(error: BadInputError) -> str:
    return f"{error.field} {error.reason}" if error.field else str(error.reason)
