"""mteb's wrapper of OpenAI's package, by the project's command, on pairs that are at hand: no hub is asked for data."""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

from calling import GUITAR, URL, ask, call, main
from scipy.stats import spearmanr

COMMAND = Path(__file__).resolve().parents[3] / "scripts" / "score_with_mteb.py"
PAIRS = [
    (GUITAR, "Someone plays an instrument.", 3.6),
    (GUITAR, "A man plays a guitar.", 5.0),
    (GUITAR, "The stock market fell sharply.", 0.0),
    ("A cat sleeps on the sofa.", "A dog runs over the grass.", 1.2),
    ("A cat sleeps on the sofa.", "The sofa has a sleeping cat on it.", 4.8),
]


@call("mteb", "`scripts/score_with_mteb.py pairs.csv --model sts`: its `OpenAIModel` on pairs of one's own")
def scores() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.csv")
        with file.open("w", encoding="utf-8", newline="") as rows:
            csv.writer(rows).writerows([("sentence1", "sentence2", "score"), *PAIRS])
        command = [sys.executable, COMMAND, file, "--model", "sts", "--url", f"{URL}/v1"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    pairs = [{"sentence_1": one, "sentence_2": two} for one, two, _ in PAIRS]
    cosines = ask("/similarity", {"pairs": pairs})["scores"]
    expected = spearmanr(cosines, [score for *_, score in PAIRS])[0]
    if abs(float(done.stdout.splitlines()[-1]) - expected) > 1e-4:
        raise ValueError(f"{done.stdout} where {expected} is expected")


main()
