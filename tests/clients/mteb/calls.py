"""mteb's wrapper of OpenAI's package, by the project's command, on pairs that are at hand: no hub is asked for data."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from calling import GUITAR, URL, ask, call, main
from scipy.stats import spearmanr

COMMAND = Path(__file__).resolve().parents[3] / "scripts" / "score_with_mteb.py"
# Scored against what a model says, so that not every order of cosines is right.
PAIRS = [
    (GUITAR, "Someone plays an instrument.", 5.0),
    (GUITAR, "A man plays a guitar.", 3.6),
    (GUITAR, "The stock market fell sharply.", 0.0),
    ("A cat sleeps on the sofa.", "A dog runs over the grass.", 1.2),
    ("A cat sleeps on the sofa.", "The sofa has a sleeping cat on it.", 4.8),
]


def run(rows: list[list[object]], delimiter: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the command on a file of these rows."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.csv")
        with file.open("w", encoding="utf-8", newline="") as lines:
            csv.writer(lines, delimiter=delimiter).writerows(rows)
        return subprocess.run(
            [sys.executable, COMMAND, file, "--url", f"{URL}/v1", *options],
            capture_output=True,
            text=True,
        )


@call("mteb", "`scripts/score_with_mteb.py pairs.csv --model sts`: its `OpenAIModel` on pairs of one's own")
def scores() -> None:
    pairs = [{"sentence_1": one, "sentence_2": two} for one, two, _ in PAIRS]
    expected = spearmanr(ask("/similarity", {"pairs": pairs})["scores"], [score for *_, score in PAIRS])[0]
    as_csv = [["score", "sentence1", "sentence2"], *([score, one, two] for one, two, score in PAIRS)]
    as_stsb = [["news", "file", "2026", number, row[0], *row[1:], "more"] for number, row in enumerate(as_csv[1:])]
    for rows, delimiter in ((as_csv, ","), (as_stsb, "\t")):
        done = run(rows, delimiter, "--model", "sts")
        if done.returncode or abs(float(done.stdout.splitlines()[-1]) - expected) > 1e-4:
            raise ValueError(f"{done.stdout}{done.stderr[-1000:]} where {expected} is expected")


@call("mteb", "the same of a model that is not served, and of no pairs: one line that says so")
def refuses() -> None:
    rows: list[list[object]] = [["sentence1", "sentence2", "score"], *map(list, PAIRS)]
    refused = (
        (rows, ("--model", "nosuch"), "model 'nosuch' is not served for sts; accepted are"),
        ([["one", "two"], ["a", "b"]], (), "has no header with sentence1, sentence2, score"),
        ([*rows, ["a", "b", "much"]], (), f"line {len(rows) + 1}: two sentences and a number are accepted"),
    )
    for given, options, reason in refused:
        done = run(given, ",", *options)
        said = done.stderr.splitlines()[-1:]
        if done.returncode != 1 or "Traceback" in done.stderr or reason not in "".join(said):
            raise ValueError(f"{done.returncode}, {done.stderr[-1000:]} where {reason} is expected")


main()
