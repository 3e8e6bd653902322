"""Rows of files, however they are cut up on their way."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trident_client.cli import readers
from trident_client.cli.failures import UsageError
from trident_client.cli.readers import Source

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def source(data: bytes, kind: str, columns: tuple[str, ...] = ("sentence",)) -> Source:
    return Source(io.BytesIO(data), kind, list(columns))


@given(
    rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=8),
    size=st.integers(1, 9),
    indent=st.sampled_from([None, 0, 2]),
    ascii_only=st.booleans(),
)
def test_a_json_list_is_read_the_same_in_pieces_of_any_size(rows, size, indent, ascii_only):
    data = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    if b"\xed" in data:
        return
    before, readers.CHARACTERS_A_READ = readers.CHARACTERS_A_READ, size
    try:
        assert [row.values for row in source(b" \n" + data, "json")] == rows
    finally:
        readers.CHARACTERS_A_READ = before


@pytest.mark.parametrize("data", [b"[1, 23, 456]", b'["one", null, true]'])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_elements_that_are_no_objects_are_rows_with_a_problem(data, size, monkeypatch):
    monkeypatch.setattr(readers, "CHARACTERS_A_READ", size)
    rows = list(source(data, "json"))
    assert [row.problem for row in rows] == [
        f"an object is accepted, not {json.dumps(value)}" for value in json.loads(data)
    ]


@pytest.mark.parametrize("data", [b'[{"a": 1}', b'[{"a": 1}, {"a"', b'[{"a": 1}, nothing]', b'[{"a": 1} {"a": 2}]'])
def test_a_broken_json_list_says_behind_which_row(data):
    with pytest.raises(UsageError, match=r"broken behind row [12]"):
        list(source(data, "json"))


@pytest.mark.parametrize("data", [b"", b"{", b"nothing", b"3", b'{"a": [1], "b": [2]}'])
def test_what_is_no_list_of_rows_is_refused(data):
    with pytest.raises(UsageError):
        list(source(data, "json"))


@given(rows=st.lists(st.text(), max_size=20))
def test_lines_of_any_text_come_back(rows):
    rows = ["".join(char for char in row if char not in "\n\r" and not 0xD800 <= ord(char) <= 0xDFFF) for row in rows]
    data = "".join(row + "\n" for row in rows).encode()
    assert [row.values["sentence"] for row in source(b"\xef\xbb\xbf" + data, "lines")] == rows


def test_csv_has_quotes_line_breaks_nul_and_any_length():
    text = 'a "quoted"\r\nline\0, ' + "고" * 300_000
    quoted = '"' + text.replace('"', '""') + '"'
    rows = list(source(f"\ufeffid,sentence\n1,{quoted}\n\n2,b\n".encode(), "csv"))
    assert [(row.number, row.values["id"], row.values["sentence"]) for row in rows] == [(1, "1", text), (2, "2", "b")]
    assert not any(row.problem for row in rows)


def test_a_pipe_has_no_end_that_is_known(tmp_path):
    piped = source(b"a\nb\n", "lines")
    assert piped.part_done() is None
    path = tmp_path / "in.txt"
    path.write_text("line\n" * 200_000)
    file = readers.open_source(path, None, ["sentence"])
    parts = [file.part_done() for _ in zip(range(200_000), file, strict=False)]
    assert parts == sorted(parts)
    assert parts[0] < 0.2
    assert parts[-1] == 1.0
    file.close()
