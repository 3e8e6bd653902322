"""Rows of files, however they are cut up on their way."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
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
    before, readers.CHARACTERS_PER_READ = readers.CHARACTERS_PER_READ, size
    try:
        assert [row.values for row in source(b" \n" + data, "json")] == rows
    finally:
        readers.CHARACTERS_PER_READ = before


@pytest.mark.parametrize("data", [b"[1, 23, 456]", b'["one", null, true]'])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_elements_that_are_no_objects_are_rows_with_a_problem(data, size, monkeypatch):
    monkeypatch.setattr(readers, "CHARACTERS_PER_READ", size)
    rows = list(source(data, "json"))
    assert [row.problem for row in rows] == [
        f"an object is accepted, not {json.dumps(value)}" for value in json.loads(data)
    ]


@pytest.mark.parametrize("data", [b'[{"a": 1}', b'[{"a": 1}, {"a"', b'[{"a": 1}, nothing]', b'[{"a": 1} {"a": 2}]'])
def test_a_broken_json_list_says_behind_which_row(data):
    with pytest.raises(UsageError, match=r"broken behind row [12]"):
        list(source(data, "json"))


@pytest.mark.parametrize("size", [1, 100])
def test_an_element_of_a_json_list_is_read_as_a_json_line_is(size, monkeypatch):
    monkeypatch.setattr(readers, "CHARACTERS_PER_READ", size)
    elements = [b'{"a": "\xff"}', rb'{"a": "\ud800"}', b'{"a": Infinity}', b'{"a": 123456789012345678901234567890}']
    listed = [row.values for row in source(b"[" + b", ".join(elements) + b"]", "json")]
    assert listed == [row.values for row in source(b"\n".join(elements), "jsonl")]
    assert listed == [{"a": "\udcff"}, {"a": "\ud800"}, {"a": float("inf")}, {"a": 123456789012345678901234567890}]


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


def test_a_quotation_mark_that_is_never_closed_is_a_bad_row():
    first, broken = source(b'id,sentence\n0,Fine.\n1,"Hello there.\n2,Next.\n3,Third.\n', "csv")
    assert first.values == {"id": "0", "sentence": "Fine."}
    assert broken.problem == "not a row of CSV, lines 3 to 5: unexpected end of data"
    # Neither may anything follow the closing one, and what comes behind the line is read.
    broken, last = source(b'id,sentence\n1,"Hello" he said.\n2,Next.\n', "csv")
    assert "not a row of CSV, lines 2 to 2" in broken.problem
    assert last.values["sentence"] == "Next."


def test_quotation_marks_are_characters_where_tabs_separate():
    data = b'id\tsentence\r\n1\t"Hello there.\r\n2\tHe said "no"\r\n\r\n3\t"Yes."\r\n4\n'
    *rows, short = source(data, "tsv")
    assert [row.values["sentence"] for row in rows] == ['"Hello there.', 'He said "no"', '"Yes."']
    assert (short.number, short.problem) == (4, "the row has 1 fields; the header has 2")


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_name_that_two_columns_have_is_refused(kind):
    with pytest.raises(UsageError, match="more than one column 'n'"):
        source(b"n,sentence,n\n1,a,2\n".replace(b",", b"," if kind == "csv" else b"\t"), kind)


def test_the_columns_of_json_are_those_of_all_rows_so_far():
    rows = source(b'{broken\n[1]\n{"a": 1}\n{"b": 2, "a": 3}\n{"c": 1}\n', "jsonl")
    assert rows.columns == ["a"], "known before anything is written"
    assert [row.problem is None for row in rows] == [False, False, True, True, True]
    assert rows.columns == ["a", "b", "c"]


@pytest.mark.parametrize("data", [b'[{"a": 1}]\n[{"a": 2}]', b'[{"a": 1}] {', b'[{"a": 1}]]'])
@pytest.mark.parametrize("size", [1, 100])
def test_what_follows_a_json_list_is_not_dropped(data, size, monkeypatch):
    monkeypatch.setattr(readers, "CHARACTERS_PER_READ", size)
    with pytest.raises(UsageError, match="behind row 1: something follows the list's end"):
        list(source(data, "json"))
    assert len(list(source(b'[{"a": 1}] \n\n', "json"))) == 1


def test_json_that_is_nested_too_deeply_is_a_bad_row():
    deep = b"[" * 100_000 + b"]" * 100_000
    bad, good = source(deep + b'\n{"a": 1}\n', "jsonl")
    assert "recursion" in bad.problem
    assert good.values == {"a": 1}
    for data in (b'[{"a": 1}, ' + deep + b"]", b'{"a": ' + deep + b"}"):
        with pytest.raises(UsageError, match="recursion"):
            list(source(data, "json"))


def test_a_parquet_file_that_is_broken_within_says_where(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"sentence": ["some text"] * 5000}), path, compression="none", use_dictionary=False)
    assert len(list(readers.open_source(path, None, []))) == 5000
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken behind row \d+"):
        list(readers.open_source(path, None, []))
    pq.write_table(pa.table([["a"], ["b"]], names=["n", "n"]), path)
    with pytest.raises(UsageError, match="more than one column 'n'"):
        readers.open_source(path, None, [])


def test_a_pipe_has_no_end_that_is_known(tmp_path):
    piped = source(b"a\nb\n", "lines")
    assert piped.fraction_read() is None
    path = tmp_path / "in.txt"
    path.write_text("line\n" * 200_000)
    file = readers.open_source(path, None, ["sentence"])
    parts = [file.fraction_read() for _ in zip(range(200_000), file, strict=False)]
    assert parts == sorted(parts)
    assert parts[0] < 0.2
    assert parts[-1] == 1.0
    file.close()
