"""A real Ray and a real Spark on rows that no model takes: each has a null and the reason, and no job ends for one.

They run in the environment that ``make engines`` lays over the project's, which runs these tests, too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident_client import TridentClient, contract

sys.path.insert(0, str(Path(__file__).parent))
from rows import BATCH, TASKS

pytestmark = [pytest.mark.serving, pytest.mark.engines]

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / ".trident" / "engines"
SECONDS = 280
PASSAGE = "The Danube rises in the Black Forest and flows into the Black Sea."
GOOD = {
    "text": "A man plays the guitar.",
    "sentence": "I are a boy.",
    "sentence_1": "A man is playing a guitar.",
    "sentence_2": "Someone plays an instrument.",
    "question": "Where does the Danube rise?",
    "context": PASSAGE,
}
#: What is no text for any model, and what its row is told.
BAD = {
    None: "must be str, got NoneType",
    "": "is empty",
    " \u200b": "is empty",
    "x" * (contract.MAX_TEXT_BYTES + 1): "bytes",
}


def rows_of(columns: list[str]) -> list[dict[str, str | None]]:
    """Return rows in which each column in turn is all that is no text, between good ones, and a batch of nulls."""
    good = {each: GOOD[each] for each in columns}
    rows = [good]
    for column in columns:
        rows += [row for text in BAD for row in (good | {column: text}, good)]
    rows += [good] * (-len(rows) % BATCH)
    return [*rows, *[dict.fromkeys(columns)] * BATCH, good]


def reason(row: dict[str, str | None]) -> tuple[str, str] | None:
    """Return which column of a row is no text, and what is to be said of it; None of a good one."""
    for column, text in row.items():
        if text in BAD:
            return column, BAD[text]
    return None


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    for name, (_, columns, _) in TASKS.items():
        rows = rows_of(columns)
        texts = {each: pa.array([row[each] for row in rows], pa.string()) for each in columns}
        pq.write_table(pa.table({"id": range(len(rows)), **texts}), folder / f"{name}.parquet")
    return folder


@pytest.fixture(scope="module")
def expected(triton) -> dict[str, object]:
    """What the client is answered for the good row of each task."""
    with TridentClient(triton.http_url) as client:
        return {
            "embed": client.embed([GOOD["text"]])[0],
            "similarity": client.similarity([(GOOD["sentence_1"], GOOD["sentence_2"])])[0],
            "acceptability": client.acceptability([GOOD["sentence"]])[0],
            "answer": client.answer(GOOD["question"], GOOD["context"])[0],
        }


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_a_row_that_is_no_text_has_a_null_and_the_reason_and_ends_no_job(engine, source, expected, triton, tmp_path):
    python = CACHE / "bin" / "python"
    if not (CACHE / ".installed").is_file():
        pytest.skip("`make engines` has not made the environment of Ray and Spark")
    command = [python, HERE / "rows.py", engine, source, tmp_path, triton.http_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, (_, columns, field) in TASKS.items():
        rows = rows_of(columns)
        found = sorted(pq.read_table(tmp_path / name).to_pylist(), key=lambda each: each["id"])
        assert [each["id"] for each in found] == list(range(len(rows))), name
        for row, each in zip(rows, found, strict=True):
            told = reason(row)
            assert (each[field] is None, each["error"] is not None) == (told is not None,) * 2, (name, each["error"])
            if told is not None:
                assert each["error"].startswith(f"{told[0]} "), each["error"]
                assert told[1] in each["error"]
            elif name == "answer":
                (span,) = each[field]
                assert (span["answer"], span["start"], span["end"]) == ("Black Forest", 24, 36)
                assert span["score"] == pytest.approx(expected[name].score, abs=0.02)
            else:
                # A batch's own rounding is its own.
                np.testing.assert_allclose(np.array(each[field]), expected[name], atol=0.02)
