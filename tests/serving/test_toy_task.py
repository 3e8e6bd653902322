"""A fourth task that no file of the project names: from data through training, evaluation and export to its answer."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from fastapi.testclient import TestClient
from sklearn.metrics import accuracy_score
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient, contract
from trident_client.contract import Ensemble, Output, TaskSpec, TextInput
from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.cli import build
from trident_training.data.splits import Splits
from trident_training.export.heads import probability_head
from trident_training.export.parity import ragged
from trident_training.finetune.run import Prepared
from trident_training.tasks.base import Data, Predictor, Task
from typer import Option
from typer.testing import CliRunner

pytestmark = pytest.mark.serving
SOURCE = Path(__file__).resolve().parents[2] / "model_repository"

# The task: does a text speak of a dog? A row of the contract ...
TOY = TaskSpec(
    name="toy",
    ensembles=(
        Ensemble(
            name="toy",
            inputs=(TextInput("TEXT", "sentence"),),
            outputs=(Output("PROBABILITY", "FP32", "probability"), Output("TRUNCATED_TOKENS", "INT32")),
            truncations=("TRUNCATED_TOKENS",),
            items="sentences",
            path="/predict/toy",
            list_path="/predict/toy",
            list_key="items",
            max_items=64,
        ),
    ),
    network="classifier",
    network_output="PROBABILITY",
    parts=("tokenizer", "classifier"),
    metrics=("accuracy",),
    width=1,
)


class ToyData(Splits):
    def digest(self, split):
        return str(self.splits[split]["label"])


@dataclass(frozen=True)
class ToyOptions(Data):
    data: Annotated[str, Option(help="A file with a sentence a line.")] = ""


# ... and a class.
class Toy(Task):
    name, spec, primary = "toy", TOY, TOY.primary
    model, unit = "a finder of dogs", "sentences"
    columns: ClassVar = {"accuracy": ".3f"}
    data = ToyOptions

    def rows(self, source, validation_fraction, split_seed):
        lines = Path(source).read_text().splitlines()
        rows = Dataset.from_dict({"sentence": lines, "label": [int("dog" in line) for line in lines]})
        return rows.select(range(0, len(rows), 5)) if validation_fraction else rows

    def load(self, options):
        rows = self.rows(options.data, 0, 0)
        learned = [each for each in range(len(rows)) if each % 5]
        return ToyData(DatasetDict(train=rows.select(learned), validation=self.rows(options.data, 0.2, 0)))

    def prepare(self, data, settings, choices):
        tokenizer = load_tokenizer(settings.model)

        def encode(row):
            ids = tokenizer(row["sentence"], truncation=True, max_length=settings.max_length)
            return {**ids, "labels": row["label"], "length": len(ids["input_ids"])}

        tokenized = {name: rows.map(encode, remove_columns=rows.column_names) for name, rows in data.splits.items()}
        return Prepared(
            model=load_classifier(settings.model, {0: "none", 1: "dog"}, settings.max_length),
            tokenizer=tokenizer,
            **tokenized,
            collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda found: {"accuracy": accuracy_score(found.label_ids, found.predictions.argmax(1))},
            primary=self.primary,
            collapsed=lambda epoch: None,
            facts={"train_data": data.digest("train")},
        )

    def predictor(self, checkpoint, max_length, scoring):
        model, tokenizer = (
            load_classifier(checkpoint, {0: "none", 1: "dog"}, max_length).eval(),
            load_tokenizer(checkpoint),
        )

        def predict(rows):
            batch = tokenizer(list(rows["sentence"]), padding=True, return_tensors="pt")
            return model(**batch).logits.softmax(1)[:, 1].detach().numpy()

        return Predictor(predict, model=model, tokenizer=tokenizer)

    def ask(self, client, model, rows):
        return [each["probability"] for each in client.predict("toy", rows["sentence"], model=model)]

    def exported(self, export):
        from tokenizers import Tokenizer
        from torch import tensor

        encode = Tokenizer.from_str(export.tokenizer).encode
        return Predictor(
            lambda rows: export.module(*ragged([tensor(encode(each).ids) for each in rows["sentence"]]))[:, 0].numpy()
        )

    def score(self, predictor, rows, scoring):
        found = np.asarray(predictor.predict(rows)) > 0.5
        return {"accuracy": accuracy_score(rows["label"], found)}

    def head(self, recipe):
        return probability_head(recipe.fine_tuned(AutoModelForSequenceClassification))


@pytest.fixture(autouse=True, scope="module")
def registered():
    with contract.registered(TOY):
        yield


def run(*arguments, code=0):
    done = CliRunner().invoke(build([Toy()]), [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def test_a_task_goes_from_its_data_to_a_served_answer(tiny_checkpoint, toy_data, tmp_path, serve_models):
    sentences = [line.split("\t")[3] for line in (toy_data / "train.tsv").read_text().splitlines()]
    (tmp_path / "text.txt").write_text("\n".join(sentences))
    data = ["--data", tmp_path / "text.txt"]
    learn = ["--epochs", 6, "--learning-rate", "3e-3", "--max-length", 40, "--output", tmp_path / "run"]
    run("finetune", "toy", "--model", tiny_checkpoint("bert"), *data, *learn)
    best = tmp_path / "run" / "best"
    of_checkpoint = run("evaluate", "toy", "--checkpoint", best, *data, "--max-length", 40)
    # Three folders with their configurations: those of another classifier of texts, under its name.
    repository = tmp_path / "models"
    for folder in ("cola", "cola_tokenizer", "cola_classifier"):
        target = repository / folder.replace("cola", "toy")
        shutil.copytree(SOURCE / folder, target, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__"))
        text = (target / "config.pbtxt").read_text().replace("cola", "toy").replace('"128"', '"40"')
        (target / "config.pbtxt").write_text(text.replace("[ 128 ]", "[ 40 ]"))
    export = ["export", "toy", "--checkpoint", best, "--repository", repository, "--dtype", "float32"]
    run(*export)
    run(*export, *data)
    with serve_models(repository) as triton:
        assert run("evaluate", "toy", "--server", triton.http_url, *data) == of_checkpoint
        asked = ["the dog runs.", "a cat sings well at home."]
        with TridentClient(triton.http_url) as client:
            dog, cat = (each["probability"] for each in client.predict("toy", asked))
        assert dog > 0.5 > cat
        settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
        with TestClient(create_app(settings)) as api:
            answer = api.post("/predict/toy", json={"items": [{"sentence": asked[0]}]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"][0]["probability"] == pytest.approx(dog, abs=1e-5)
