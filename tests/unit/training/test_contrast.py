"""Teaching a tiny encoder which sentences mean the same, from the command line; and the forms it reads."""

import itertools
import json

import numpy as np
import pytest
import torch
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.tasks.sts.contrast import TEMPERATURE, loss
from trident_training.tasks.sts.data import load_rows
from trident_training.tasks.sts.scoring import checkpoint_comparer
from trident_training.tasks.sts.training import score
from trident_training.tasks.sts.triplets import Triplet, load_triplets
from typer.testing import CliRunner

WORDS = ("sleeps", "laughs", "runs", "sings", "the", "dog", "a", "cat", "today", "home")
#: Each with another one.
VERBS = tuple(zip(WORDS[:4], WORDS[1:4] + WORDS[:1], strict=True))


@pytest.fixture
def write(tmp_path):
    def make(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return make


def test_each_form_is_told_by_its_columns(write):
    own = write("own.csv", "anchor,positive,negative\nA,B,C\nD,E,\n")
    plain = write("plain.jsonl", '{"anchor": "ㄱ", "positive": "👍"}\n')
    nli = write(
        "nli.tsv",
        "sentence1\tsentence2\tgold_label\nP\tfollows\tentailment\nP\tdoes not\tcontradiction\n"
        "P\tmay\tneutral\nQ\tnever\tcontradiction\n",
    )
    klue = [{"premise": "P", "hypothesis": "H", "gold_label": "entailment", "author": "entailment"}]
    nested = write("klue.json", json.dumps(klue))
    assert load_triplets([own, plain, nli, nested]) == [
        Triplet("A", "B", "C", 0),
        Triplet("D", "E", None, 1),
        Triplet("ㄱ", "👍", None, 2),
        Triplet("P", "follows", "does not", 3),
        Triplet("P", "H", None, 4),
    ]


def test_pairs_of_a_set_share_no_sentence_and_follow_from_the_seed(write):
    rows = [f"{name}\t{name} {place}" for name in ("x", "y") for place in range(5)]
    file = write("sets.tsv", "\n".join(["set\tsentence", *rows, "y\ty 1"]))
    found = load_triplets([file], pairs_per_set=3, seed=1)
    assert [triplet.group for triplet in found] == [0, 0, 1, 1]
    assert len({text for triplet in found for text in triplet[:2]}) == 8
    assert found == load_triplets([file], pairs_per_set=3, seed=1) != load_triplets([file], pairs_per_set=3, seed=2)
    assert len(load_triplets([file], pairs_per_set=1)) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question,answer\na,b\n", "the columns question, answer are no form; accepted are anchor, positive, negative"),
        ("anchor,positive\na,b\n ,b\n", "row 2: anchor is ' '; text is accepted"),
        ("premise,hypothesis,gold_label\na,b,neutral\n", "no two sentences of it mean the same"),
        ("set,sentence\n1,a\n2,b\n", "no two sentences of it mean the same"),
    ],
)
def test_a_file_that_cannot_be_learned_from_is_refused(write, text, says):
    with pytest.raises(DataError, match=says):
        load_triplets([write("bad.csv", text)])


def test_the_loss_asks_for_the_positive_and_spares_the_group():
    away = torch.eye(5)
    # Anchors 0, 1, 2 are their positives; of the one hard negative nobody is reminded.
    right = torch.cat([away[:3], away[:3], away[3:4]])
    assert loss({"embeddings": 3 * right}, torch.tensor([0, 1, 2])).item() == pytest.approx(0, abs=1e-6)
    # The hard negative is anchor 0 once more: it is as near as the positive.
    hard = loss({"embeddings": torch.cat([away[:3], away[:3], away[:1]])}, torch.tensor([0, 1, 2])).item()
    assert hard == pytest.approx(np.log(2) / 3 / 2, abs=1e-6)
    # Positives that are one another's: a confusion, unless both are of one group.
    same = {"embeddings": torch.cat([away[[0, 0, 2]], away[[0, 0, 2]]])}
    assert loss(same, torch.tensor([0, 1, 2])).item() == pytest.approx(2 * np.log(2) / 3, abs=1e-6)
    assert loss(same, torch.tensor([0, 0, 2])).item() == pytest.approx(0, abs=1e-6)
    # Of several passes that make one step, each counts by its rows.
    whole = loss({"embeddings": away[[0, 1, 1, 0]]}, torch.tensor([0, 1]))
    assert loss({"embeddings": away[[0, 1, 1, 0]]}, torch.tensor([0, 1]), 4) == pytest.approx(whole / 2)
    assert whole == pytest.approx(1 / TEMPERATURE, abs=1e-3)


def test_a_model_learns_which_sentences_mean_the_same(tiny_checkpoint, tmp_path):
    # Two sentences mean the same that have the same verb, wherever it stands.
    rng = np.random.default_rng(0)

    def sentence(verb):
        return " ".join(rng.permutation([verb, *rng.choice(WORDS[4:], 2)]))

    rows = [f"{sentence(verb)},{sentence(verb)},{sentence(other)}" for _ in range(60) for verb, other in VERBS]
    (tmp_path / "train.csv").write_text("\n".join(["anchor,positive,negative", *rows]))
    pairs = [f"{sentence(a)},{sentence(b)},{5.0 if a == b else 0.0}" for a, b in itertools.product(WORDS[:4], repeat=2)]
    (tmp_path / "pairs.csv").write_text("\n".join(["sentence1,sentence2,score", *pairs]))
    options = ["--data", tmp_path / "train.csv", "--validation", tmp_path / "pairs.csv", "--output", tmp_path / "run"]
    settings = ["--epochs", 6, "--learning-rate", "5e-3", "--batch-size", 16, "--max-length", 16, "--dropout", 0]
    model = str(tiny_checkpoint("bert"))
    done = CliRunner().invoke(app, ["contrast", "--model", model, *map(str, [*options, *settings])])
    assert done.exit_code == 0, done.output
    assert "240 pairs that mean the same, 240 with a hard negative" in " ".join(done.output.split())
    epochs = json.loads((tmp_path / "run" / "result.json").read_text())["epochs"]
    untaught, _ = checkpoint_comparer(model, 16)
    rows = load_rows(str(tmp_path / "pairs.csv"))
    assert max(epoch["spearman"] for epoch in epochs) > score(untaught(rows), rows)["spearman"] + 0.2
