"""Data of the tasks that learn labels of somebody's own: small, and learned from in seconds."""

import random
from pathlib import Path

WORDS = ("sleeps", "laughs", "runs", "sings", "the", "today", "home", "park")


def write_topics(folder: Path) -> Path:
    """Write texts under the animal that they speak of, in the text or in a second one; returns the file."""
    rng = random.Random(1)
    rows = []
    for _ in range(360):
        first, second, animal = rng.sample(WORDS, 3), rng.sample(WORDS, 2), rng.choice(("dog", "cat", "fish"))
        alone = rng.random() < 0.5
        texts = ([*first, animal], []) if alone else (first, [animal, *second])
        rows.append(f"{','.join(map(' '.join, texts))},{animal}")
    return _write(folder / "topics.csv", "text,text_pair,label", rows)


def write_queries(folder: Path) -> Path:
    """Write queries with five texts each, of which those belong to it that speak of a dog; returns the file."""
    rng = random.Random(2)
    rows = []
    for index in range(64):
        for place in range(5):
            text = [*rng.sample(WORDS, 4), *(["dog"] if rng.random() < 0.4 or not place else [])]
            rows.append(f"{WORDS[index % 8]} {index},{' '.join(text)},{int('dog' in text)}")
    return _write(folder / "queries.csv", "query,text,label", rows)


def _write(file: Path, header: str, rows: list[str]) -> Path:
    file.write_text("\n".join([header, *rows]) + "\n")
    return file
