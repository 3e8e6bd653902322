"""Folders of files through the commands, over a fake transport."""

import importlib.util
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def folder(tmp_path):
    """Three files of sentences, one of them in a folder of the folder; the last has a bad row."""
    (tmp_path / "in" / "more").mkdir(parents=True)
    for name, texts in (("a", ["One.", "Two."]), ("b", ["Three."]), ("more/c", ["Four.", None])):
        pq.write_table(pa.table({"id": range(len(texts)), "sentence": texts}), tmp_path / "in" / f"{name}.parquet")
    return tmp_path


def test_each_file_of_a_pattern_is_answered_into_a_file_of_its_own(trident, folder):
    result = trident("cola", "--input", str(folder / "in/**/*.parquet"), "--output", str(folder / "out"))
    assert result.exit_code == 1
    assert "3 files to answer, 0 from before" in result.stderr
    assert "more/c.parquet: 1 of 2 rows are bad" in result.stderr
    assert "5 rows in" in result.stderr
    assert sorted(each.relative_to(folder / "out").as_posix() for each in folder.glob("out/**/*.*")) == [
        "a.parquet",
        "b.parquet",
        "more/c.parquet",
    ]
    found = pq.read_table(folder / "out/more/c.parquet")
    assert found.column_names == ["id", "sentence", "probability", "error"]
    assert found.column("probability").to_pylist() == [pytest.approx(0.05), None]
    assert pq.read_table(folder / "out/a.parquet").column("id").to_pylist() == [0, 1]


def test_a_run_answers_only_what_none_before_it_did(trident, folder):
    line = ("cola", "--input", str(folder / "in"), "--output", str(folder / "out"))
    assert trident(*line).exit_code == 0
    assert not (folder / "out/more").exists()
    kept = (folder / "out/b.parquet").stat().st_mtime_ns
    (folder / "out/a.parquet").unlink()
    # What a run that was killed left is no output.
    (folder / "out/a.parquet.partial").write_text("{}\n")
    result = trident(*line)
    assert result.exit_code == 0, result.stderr
    assert "1 files to answer, 1 from before" in result.stderr
    assert "2 rows in" in result.stderr
    assert (folder / "out/b.parquet").stat().st_mtime_ns == kept
    assert sorted(each.name for each in (folder / "out").iterdir()) == ["a.parquet", "b.parquet"]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(trident, folder):
    (folder / "in/a.parquet").write_text("no Parquet")
    (folder / "in/z.jsonl").write_text(json.dumps({"other": "Five."}) + "\n" + json.dumps({"sentence": "Six."}) + "\n")
    result = trident("cola", "--input", str(folder / "in"), "--output", str(folder / "out"))
    assert result.exit_code == 2
    assert "a.parquet: the file is not Parquet" in result.stderr
    assert sorted(each.name for each in (folder / "out").iterdir()) == ["b.parquet", "z.jsonl"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--input", "{0}/in/*.parquet"], "--output for {0}/in/*.parquet is a folder"),
        (["--input", "{0}/in", "--output", "{0}/in"], "--output would overwrite --input"),
        (["--input", "{0}/in/*.parquet", "--output", "{0}/in"], "--output would overwrite --input"),
        (["--input", "{0}/in/*.csv", "--output", "{0}/out"], "--input {0}/in/*.csv names no file"),
        (["--input", "{0}/in/a.parquet", "--output", "{0}/out.jsonl", "--engine", "ray"], "--engine is for many files"),
    ],
)
def test_what_cannot_be_meant_is_refused(trident, folder, options, message):
    result = trident("cola", *(each.format(folder) for each in options))
    assert result.exit_code == 2
    assert message.format(folder) in result.stderr


def test_without_pyarrow_all_but_parquet_is_answered_and_that_is_refused_before_a_row_is_asked_for(
    trident, transport, tmp_path, monkeypatch
):
    (tmp_path / "in.jsonl").write_text(json.dumps({"sentence": "Four."}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("trident_client._columns", "trident_client.cli.parquet"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for ending in ("csv", "json", "jsonl"):
        assert trident("cola", "--input", "in.jsonl", "--output", f"out.{ending}").exit_code == 0
        assert "0.05" in (tmp_path / f"out.{ending}").read_text()
    asked = len(transport.requests)
    result = trident("cola", "--input", "in.jsonl", "--output", "out.parquet")
    assert isinstance(result.exception, ModuleNotFoundError)
    assert result.exception.name == "pyarrow"
    assert len(transport.requests) == asked


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_without_ray_it_is_said_what_to_install(trident, folder):
    result = trident("cola", "--input", str(folder / "in"), "--output", str(folder / "out"), "--engine", "ray")
    assert result.exit_code == 2
    assert "pip install 'trident-nlp[cli,ray]'" in result.stderr
