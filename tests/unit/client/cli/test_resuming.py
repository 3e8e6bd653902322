"""Runs on files that were interrupted, and go on."""

import csv
import fcntl
import json
import os
import tracemalloc

import pytest
from trident_client import ServerError
from trident_client.cli.journal import Journal

ROWS = 64 * 20


@pytest.fixture
def source(tmp_path):
    """A file of which rows 100 and 900 are bad."""
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "sentence"])
        writer.writerows(
            [number, " " if number in {100, 900} else "x" * (1 + number % 50)] for number in range(1, ROWS + 1)
        )
    return tmp_path / "in.csv"


@pytest.fixture
def whole(trident, source, tmp_path):
    """What an uninterrupted run writes."""
    assert trident("cola", "-i", "in.csv", "-o", "whole.jsonl").exit_code == 1
    return (tmp_path / "whole.jsonl").read_bytes()


def break_after(transport, count):
    answer = transport._answer
    before = len(transport.requests)

    def broken(request):
        if len(transport.requests) - before > count:
            raise ServerError("broken")
        return answer(request)

    transport._answer = broken
    return answer


def test_a_broken_run_goes_on_and_its_output_is_the_same(trident, transport, source, whole, tmp_path):
    answer = break_after(transport, 12)
    assert trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--concurrency", "1").exit_code == 5
    partial = tmp_path / "out.jsonl.partial"
    done = len(partial.read_bytes().splitlines()) - 1
    assert 64 * 2 <= done < ROWS
    # A kill may cut the last line.
    with partial.open("ab") as file:
        file.write(b'[{"probability": 0.')
    transport._answer = answer
    requested = len(transport.requests)
    result = trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--resume")
    assert result.exit_code == 1
    assert f"{done:,} from before, 2 bad" in result.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert not partial.exists()
    # What was answered is not asked again.
    assert sum(len(request.inputs["TEXT"]) for request in transport.requests[requested:]) <= ROWS - done


def test_a_run_killed_before_its_output_was_written_only_writes_it(trident, transport, source, whole, tmp_path):
    stat = source.stat()
    run = {"command": "cola", "model": "cola", "columns": None, "settings": None, "format": None}
    run["input"] = [str(source), stat.st_size, stat.st_mtime_ns]
    with Journal(tmp_path / "out.jsonl", run, resume=False) as journal:
        for row in map(json.loads, whole.splitlines()):
            problem = row.get("error")
            journal.add(None if problem else {"probability": row["probability"]}, problem)
    requested = len(transport.requests)
    assert trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--resume").exit_code == 1
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert len(transport.requests) == requested


def test_resuming_what_was_never_begun_begins_it(trident, source, whole, tmp_path):
    assert trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--resume").exit_code == 1
    assert (tmp_path / "out.jsonl").read_bytes() == whole


def test_without_resume_a_run_begins_anew(trident, transport, source, whole, tmp_path):
    answer = break_after(transport, 12)
    assert trident("cola", "-i", "in.csv", "-o", "out.jsonl").exit_code == 5
    transport._answer = answer
    requested = len(transport.requests)
    assert trident("cola", "-i", "in.csv", "-o", "out.jsonl").exit_code == 1
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert len(transport.requests) - requested >= ROWS // 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--model", "cola_other"], "another model"), (["--columns", "id"], "another columns")],
)
def test_another_runs_rows_are_not_taken_up(trident, transport, source, tmp_path, arguments, message):
    break_after(transport, 12)
    trident("cola", "-i", "in.csv", "-o", "out.jsonl")
    result = trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--resume", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert (tmp_path / "out.jsonl.partial").exists()


def test_a_changed_input_is_not_gone_on_with(trident, transport, source, tmp_path):
    break_after(transport, 12)
    trident("cola", "-i", "in.csv", "-o", "out.jsonl")
    with source.open("a") as file:
        file.write("9,more\n")
    result = trident("cola", "-i", "in.csv", "-o", "out.jsonl", "--resume")
    assert (result.exit_code, "another input" in result.stderr) == (2, True)


def test_two_runs_do_not_write_one_output(trident, source, tmp_path):
    with (tmp_path / "out.jsonl.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"what the other run has answered")
        other.flush()
        result = trident("cola", "-i", "in.csv", "-o", "out.jsonl")
        assert (result.exit_code, "another process writes" in result.stderr) == (2, True)
    assert (tmp_path / "out.jsonl.partial").read_bytes() == b"what the other run has answered"
    assert os.listdir(tmp_path).count("out.jsonl") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.json", "in.parquet"])
def test_memory_does_not_grow_with_the_file(trident, transport, tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    class Forgetful(list):
        def append(self, item):
            pass

    transport.requests = Forgetful()

    # Of Parquet the description of row groups grows; of JSON a megabyte is read at a time, whatever the file has.
    size, fewer = (500, 1_500) if name == "in.parquet" else (2_000, 600)

    def peak(count):
        rows = ({"sentence": f"{number} " + "x" * size} for number in range(count))
        path = tmp_path / name
        if name == "in.csv":
            path.write_text("sentence\n" + "".join(row["sentence"] + "\n" for row in rows))
        elif name == "in.jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name == "in.json":
            path.write_text(json.dumps(list(rows)))
        else:
            pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=250)
        tracemalloc.start()
        try:
            assert trident("cola", "-i", name, "-o", "out.csv").exit_code == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    assert peak(4 * fewer) < 1.5 * peak(fewer)
