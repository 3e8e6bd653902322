"""Folders of files through the commands, over a fake transport."""

import importlib.util
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from trident_client.cli import places
from trident_client.cli.places import Remote
from trident_client.cli.progress import ProgressReport


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


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a.parquet": ["x"] * 20, "b.parquet": ["x"] * 4, "c.parquet": ["x"] * 76}, [(20, 0.2), (24, 0.24), (100, 1)]),
        ({"a.txt": ["x"] * 100, "b.txt": ["x"] * 18, "c.txt": ["x" * 1763]}, [(100, 0.1), (118, 0.118), (119, 1)]),
        ({"a.parquet": ["x"] * 300}, [(256, 1), (300, 1)]),
    ],
)
def test_progress_is_told_at_each_files_end_and_goes_by_rows_or_bytes(trident, tmp_path, monkeypatch, files, told):
    (tmp_path / "in").mkdir()
    for name, texts in files.items():
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"sentence": texts}), tmp_path / "in" / name)
        else:
            (tmp_path / "in" / name).write_text("".join(f"{each}\n" for each in texts))
    found = []
    monkeypatch.setattr(ProgressReport, "count", lambda self, rows: found.append((rows, self._source.fraction_read())))
    result = trident("cola", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    assert found == [(rows, pytest.approx(fraction)) for rows, fraction in told]


@pytest.mark.parametrize("where", ["{0}", "store://bucket"])
def test_answers_below_the_input_are_not_answered_again(trident, folder, storage, where):
    line = ("cola", "--input", f"{where}/in/**/*.parquet", "--output", f"{where}/in/more/out")
    line = [each.format(folder) for each in line]
    assert "3 files to answer, 0 from before" in trident(*line).stderr
    assert "0 files to answer, 3 from before" in trident(*line).stderr
    assert len(list(folder.glob("**/*.parquet"))) == 6


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


def test_an_answer_that_would_lie_among_the_inputs_is_refused(trident, folder):
    (folder / "in/more/more").mkdir()
    (folder / "in/more/c.parquet").rename(folder / "in/more/more/c.parquet")
    result = trident("cola", "--input", str(folder / "in/more/**/*.parquet"), "--output", str(folder / "in"))
    assert result.exit_code == 2
    assert "--output would overwrite --input" in result.stderr


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_without_ray_it_is_said_what_to_install(trident, folder):
    result = trident("cola", "--input", str(folder / "in"), "--output", str(folder / "out"), "--engine", "ray")
    assert result.exit_code == 2
    assert "pip install 'trident-nlp[cli,ray]'" in result.stderr


@pytest.fixture
def storage(folder, monkeypatch):
    """The folder as what ``store://bucket`` names; tells which files were asked for by their URIs."""
    system = SubTreeFileSystem(str(folder), LocalFileSystem())
    monkeypatch.setattr(places, "_connected", lambda root: (system, "") if root.startswith("store://bucket/") else None)
    return "store://bucket"


def test_a_pattern_of_a_uri_is_answered_into_a_folder_of_one_and_a_rerun_has_nothing_to_do(trident, folder, storage):
    line = ("cola", "--input", f"{storage}/in/**/*.parquet", "--output", f"{storage}/my out")
    assert trident(*line).exit_code == 1
    names = ["a.parquet", "b.parquet", "more/c.parquet"]
    assert sorted(each.relative_to(folder / "my out").as_posix() for each in folder.glob("my out/**/*.*")) == names
    assert pq.read_table(folder / "my out/more/c.parquet").column("probability").to_pylist() == [
        pytest.approx(0.05),
        None,
    ]
    result = trident(*line)
    assert result.exit_code == 0
    assert "0 files to answer, 3 from before" in result.stderr
    (folder / "my out/b.parquet").unlink()
    assert "1 files to answer, 2 from before" in trident(*line).stderr


@pytest.mark.parametrize(
    ("input", "output"),
    [
        ("{0}/in", "{1}/out"),
        ("{1}/in/*.parquet", "{0}/out"),
        ("file://{1}/in", "file://{1}/out"),
        ("{0}/in/a.parquet", "{0}/out/a.parquet"),
        ("{0}/in/a.parquet?option=1", "{1}/a.parquet"),
    ],
)
def test_files_and_folders_of_this_machine_and_of_uris_go_together(trident, folder, storage, input, output):
    result = trident("cola", "--input", input.format(storage, folder), "--output", output.format(storage, folder))
    assert result.exit_code == 0, result.stderr
    (written,) = [*folder.glob("out/a.parquet"), *folder.glob("a.parquet")]
    assert pq.read_table(written).column("id").to_pylist() == [0, 1]
    assert not list(folder.glob("**/.*")), "a draft"


def test_what_is_not_written_whole_is_not_there(trident, folder, storage, monkeypatch):
    def broken(*_):
        raise OSError("When completing multiple part upload:\nAWS Error ACCESS_DENIED")

    monkeypatch.setattr("pyarrow.fs.copy_files", broken)
    result = trident("cola", "--input", f"{storage}/in", "--output", f"{storage}/out")
    assert result.exit_code == 2
    told = (
        "store://bucket/out/a.parquet cannot be written: When completing multiple part upload: AWS Error ACCESS_DENIED"
    )
    assert f"{told}; AWS_ACCESS_KEY_ID" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((folder / "out").iterdir())


@pytest.mark.parametrize(
    ("input", "message"),
    [
        ("nowhere://name/*.parquet", "cannot be read: Unrecognized filesystem type in URI: nowhere://name/"),
        ("file:///nowhere/*.parquet", "--input /nowhere/*.parquet names no file"),
        (
            "s3://key:secret@bucket/*.parquet?endpoint_override=127.0.0.1:9&scheme=http&region=x",
            "AWS Error NETWORK_CONNECTION",
        ),
    ],
)
def test_of_a_uri_that_cannot_be_read_one_line_tells_why(trident, input, message):
    result = trident("cola", "--input", input, "--output", "out")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "secret" not in result.stderr


def test_a_run_that_could_not_go_on_is_refused(trident, storage):
    result = trident("cola", "--input", f"{storage}/in/a.parquet", "--output", f"{storage}/a.parquet", "--resume")
    assert result.exit_code == 2
    assert "--resume goes on with files of this machine" in result.stderr


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["a.parquet", "b.parquet"]),
        ("[b-z].*", ["b.parquet"]),
        ("more/*", ["more/c.parquet"]),
        ("**", ["a.parquet", "b.parquet", "more/c.parquet"]),
        ("**/c.*", ["more/c.parquet"]),
        ("*/*", ["more/c.parquet"]),
        ("x/*", []),
    ],
)
def test_a_pattern_of_a_uri_means_what_it_means_in_a_shell(folder, storage, pattern, names):
    (folder / "in/.hidden").touch()
    root, found = Remote(f"{storage}/in/{pattern}").find()
    start = "" if root == Remote(f"{storage}/in") else f"{root}".removeprefix(f"{storage}/in/") + "/"
    assert [start + name for name in found] == names
