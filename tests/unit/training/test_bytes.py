"""Parquet whose text was written without saying that it is text: every task reads it, and tells bytes that are none."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident_training.data.problems import DataError
from trident_training.tasks import find_tasks

TEXT = "고양이는 잔다."
#: A row of each task's data, and which of its columns is put to the model first.
ROWS = {
    "cola": ({"sentence": TEXT, "label": 1}, "sentence"),
    "sts": ({"sentence1": TEXT, "sentence2": "개도 잔다.", "score": 3.0}, "sentence1"),
    "classify": ({"text": TEXT, "text_pair": "예.", "label": "cat"}, "text"),
    "rerank": ({"query": TEXT, "text": "예.", "label": "1"}, "query"),
    "qa": (
        {"id": "7", "question": TEXT, "context": "개도 잔다.", "answers": {"text": ["개"], "answer_start": [0]}},
        "question",
    ),
}


def as_bytes(value):
    if isinstance(value, dict):
        return {name: as_bytes(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_bytes(each) for each in value]
    return value.encode() if isinstance(value, str) else value


def write(file, row, kind):
    table = pa.Table.from_pylist([row])
    of_bytes = [pa.field(each.name, kind if each.type == pa.binary() else each.type) for each in table.schema]
    pq.write_table(table.cast(pa.schema(of_bytes)), file)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
@pytest.mark.parametrize("task", sorted(find_tasks()))
def test_parquet_text_that_is_not_declared_as_text_is_read(tmp_path, task, kind):
    row, column = ROWS[task]
    file = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist([row]), file)
    expected = find_tasks()[task].rows(str(file), 0.0, 0)
    write(file, as_bytes(row), kind)
    assert pq.read_schema(file).field(column).type == kind
    read = list(find_tasks()[task].rows(str(file), 0.0, 0))
    assert TEXT in read[0].values()
    assert read == list(expected)


@pytest.mark.parametrize("task", sorted(find_tasks()))
def test_bytes_that_are_no_text_are_told_by_row(tmp_path, task):
    row, column = ROWS[task]
    write(tmp_path / "train.parquet", row | {column: b"\xff\xd8"}, pa.binary())
    with pytest.raises(DataError, match=r"row 1.*text"):
        find_tasks()[task].rows(str(tmp_path / "train.parquet"), 0.0, 0)
