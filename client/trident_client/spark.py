"""Tasks as Spark's functions of columns, over Arrow; the extra ``spark`` brings PySpark 4.1 or newer.

>>> from trident_client.spark import embed_udf
>>> embed = embed_udf("10.0.0.1:8010")                                       # doctest: +SKIP
>>> frame.select("id", embed("text").alias("answer"))                        # doctest: +SKIP

Each gives a struct: the answer's fields, null where the model does not take a row, and ``error``, why not. A task that
fails because its worker died is Spark's to do again (``spark.task.maxFailures``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trident_client._extras import needing

with needing(__name__, "spark"):
    import pyarrow as pa
    from pyspark.sql import Column
    from pyspark.sql.functions import arrow_udf
    from pyspark.sql.pandas.types import from_arrow_schema

    from trident_client._columns import Acceptability, Answer, ColumnTask, Embed, Similarity
    from trident_client._names import ERROR

__all__ = ["acceptability_udf", "answer_udf", "embed_udf", "similarity_udf"]

#: Takes columns, or their names, one for each text of the task.
Function = Callable[..., Column]


def acceptability_udf(url: str | Sequence[str] | None = None, **settings: Any) -> Function:
    """Return a function of a sentence; takes what :class:`trident_client.ray.Acceptability` takes."""
    return _function(Acceptability(url, **settings))


def answer_udf(url: str | Sequence[str] | None = None, **settings: Any) -> Function:
    """Return a function of a question and its context; takes what :class:`trident_client.ray.Answer` takes."""
    return _function(Answer(url, **settings))


def embed_udf(url: str | Sequence[str] | None = None, **settings: Any) -> Function:
    """Return a function of a text; takes what :class:`trident_client.ray.Embed` takes."""
    return _function(Embed(url, **settings))


def similarity_udf(url: str | Sequence[str] | None = None, **settings: Any) -> Function:
    """Return a function of two sentences; takes what :class:`trident_client.ray.Similarity` takes."""
    return _function(Similarity(url, **settings))


def _function(task: ColumnTask) -> Function:
    schema = pa.schema([*task.types.items(), (ERROR, pa.string())])

    # Annotated with Arrow's own class, by which Spark knows a function from arrays to an array.
    def answer(*texts: pa.Array) -> pa.Array:
        columns = task.answers(*texts)
        return pa.StructArray.from_arrays([columns[field.name] for field in schema], fields=list(schema))

    answer.__annotations__ = {"texts": pa.Array, "return": pa.Array}
    # Said to differ each time, or Spark asks again for each field of the answer that a query names.
    function: Function = arrow_udf(answer, from_arrow_schema(schema)).asNondeterministic()
    return function
