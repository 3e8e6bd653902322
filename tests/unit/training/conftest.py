"""Data that small models learn from, and models that several files look at."""

import functools
import random
import shutil
from pathlib import Path

import pytest
from fine_tuned import fine_tune_once
from own_labels import write_queries, write_topics
from postgresql import PostgreSQL

SOURCE = Path(__file__).resolve().parents[3] / "model_repository"
WORDS = ("sleeps", "laughs", "runs", "sings", "the", "dog", "a", "cat", "today", "home", "고양이", "park")


def write_pairs(folder, score):
    """Write 500 pairs to learn from and 100 to report, in KLUE's form."""
    rng = random.Random(2)
    rows = []
    for _ in range(600):
        first = rng.sample(WORDS, 5)
        shared = rng.randint(0, 5)
        second = first[:shared] + rng.sample([word for word in WORDS if word not in first], 5 - shared)
        rng.shuffle(second)
        rows.append(f"{' '.join(first)},{' '.join(second)},{score(first, second)}")
    for name, chosen in (("train", rows[:500]), ("dev", rows[500:])):
        (folder / f"{name}.csv").write_text("\n".join(["sentence1,sentence2,label", *chosen]) + "\n")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Pairs whose similarity is the share of words that they have in common."""
    return write_pairs(tmp_path_factory.mktemp("pairs"), lambda first, second: len(set(first) & set(second)))


@pytest.fixture(scope="session")
def dogs(tmp_path_factory):
    """Pairs whose similarity is a matter of one word: easier for a model that reads both at once."""
    return write_pairs(tmp_path_factory.mktemp("dogs"), lambda first, second: 5 * ("dog" in second))


@pytest.fixture(scope="session")
def alike(tmp_path_factory):
    """Pairs that are all similar, more or less."""
    return write_pairs(tmp_path_factory.mktemp("alike"), lambda first, second: 3 + 0.4 * len(set(first) & set(second)))


@pytest.fixture(scope="session")
def sources(toy_data, toy_squad, pairs, tmp_path_factory):
    """Data by task."""
    own = tmp_path_factory.mktemp("own")
    labelled = {"classify": write_topics(own), "rerank": write_queries(own)}
    return labelled | {"cola": toy_data, "qa": toy_squad, "sts": pairs}


@pytest.fixture(scope="session")
def fine_tuned(sources, tiny_checkpoint, tmp_path_factory):
    """Return what a fine-tuning of a tiny BERT on a task printed, and its best checkpoint; nobody may change it."""

    @functools.cache
    def make(task):
        return fine_tune_once(task, tiny_checkpoint("bert"), sources[task], tmp_path_factory)

    return make


@pytest.fixture(scope="module")
def postgresql():
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    with PostgreSQL() as database:
        yield database


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path) -> str:
    """The URL of a database that several processes share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'study.db'}"
    return request.getfixturevalue("postgresql").url


@pytest.fixture
def repository(tmp_path) -> Path:
    """The repository's source, sized for the tiny checkpoints."""
    folder = tmp_path / "model_repository"
    shutil.copytree(
        SOURCE, folder, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__", "*_ko*", "*_small*")
    )
    for file in folder.glob("*/config.pbtxt"):
        text = file.read_text().replace("384", "32").replace('"96"', '"8"')
        for longest in ("128", "256"):
            text = text.replace(f'"{longest}"', '"40"').replace(f"dims: [ {longest} ]", "dims: [ 40 ]")
        file.write_text(text)
    return folder
