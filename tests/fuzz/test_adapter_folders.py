"""Every JSON of an adapter's folder may be anybody's: what cannot be read is refused in a line that names the file."""

import json
import multiprocessing
import os
import re
import resource
import shutil

import pytest
import torch
from fuzzing import looking, nearly
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoModelForSequenceClassification
from trident_training.checkpoints.adapters import save_adapter, unpack_adapter
from trident_training.checkpoints.errors import CheckpointError
from trident_training.models import Recipe
from trident_training.tasks import find_tasks
from trident_training.tasks.qa.calibration import Calibration
from trident_training.tasks.sts.card import SimilarityCard
from trident_training.tasks.sts.choices import Kind

KINDS = {"cola": AutoModelForSequenceClassification, "qa": AutoModelForQuestionAnswering, "sts": AutoModel}
METRICS = {"result.json": {"best_epoch": {"f1": 80.0, "spearman": 0.8}}, "test_metrics.json": {"accuracy": 0.9}}
CARD = SimilarityCard(Kind.BI_ENCODER, None, 0.5, ("en", "ko"), {"spearman": 0.8})
#: Values that stand for others; the large ones would take all memory.
STRANGE = (
    None, True, False, -1, 0, 1, 3, 2.5, 10**6, 10**12, 10**400, float("nan"), float("inf"), "", "x", "bert", "gelu",
    "../x", "\ud800", [], ["x"], [1], [[]], {}, {"a": 1}, {"0": "x"}, {"best_epoch": 3}, {"best_epoch": {"f1": "x"}},
)  # fmt: skip


@st.composite
def strange(draw, content):
    """Draw an object of JSON's with a few other values, without some of them, or in another form altogether."""
    found = json.loads(content)
    names = sorted(found)
    for _ in range(draw(st.integers(1, 3))):
        within = found
        name = draw(st.sampled_from([*names, "num_labels", "id2label", "problem_type", "new"]))
        if isinstance(within.get(name), dict) and within[name] and draw(st.booleans()):
            within, name = within[name], draw(st.sampled_from(sorted(within[name])))
        if draw(st.integers(0, 4)):
            within[name] = draw(st.sampled_from(STRANGE))
        else:
            within.pop(name, None)
    return json.dumps(draw(st.sampled_from([found] * 9 + [[found], 3])), ensure_ascii=True).encode()


@pytest.fixture(scope="module")
def adapter_of(tiny_checkpoint, tmp_path_factory):
    """Return a folder with everything that an adapter of a task may have, and its base."""
    base = tiny_checkpoint("bert")

    def make(task):
        folder = tmp_path_factory.mktemp(task)
        torch.manual_seed(4)
        KINDS[task].from_pretrained(base).save_pretrained(folder / "fine-tuned")
        for file in base.glob("tokenizer*"):
            shutil.copyfile(file, folder / "fine-tuned" / file.name)
            (folder / "adapter").mkdir(exist_ok=True)
            shutil.copyfile(file, folder / "adapter" / file.name)
        (folder / "fine-tuned" / "calibration.json").write_text(Calibration(1.2, 0.02, True, 0.5).to_json())
        CARD.write(folder / "fine-tuned")
        save_adapter(
            folder / "fine-tuned", str(base), folder / "adapter", METRICS, ["calibration.json", "similarity.json"]
        )
        return folder / "adapter", base

    return make


FILES = {
    "cola": ["config.json", "metrics.json"],
    "qa": ["config.json", "metrics.json", "calibration.json"],
    "sts": ["config.json", "metrics.json", "similarity.json", "tokenizer.json", "tokenizer_config.json"],
}


def use(adapter, base, task):
    """Do with an adapter what building a model from it does, but for what only its weights decide."""
    task = find_tasks()[task]
    recipe = Recipe("x", task, str(base), "x", adapter)
    recipe.size()
    json.dumps(recipe.facts()).encode()
    json.dumps(task.files(adapter, task.overrides())).encode()
    task.prompts(str(adapter))
    unpack_adapter(adapter, str(base), adapter.parent / "unpacked", task.companions)


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in FILES.items() for name in names])
def test_a_file_that_cannot_be_read_is_named(adapter_of, task, name):
    adapter, base = adapter_of(task)
    file, beside = adapter / name, set(adapter.parent.parent.iterdir())
    right = file.read_bytes()
    use(adapter, base, task)
    refused = []

    @looking(25)
    @given(nearly([right]) | strange(right))
    def reads(content):
        file.write_bytes(content)
        try:
            use(adapter, base, task)
        except ValueError as error:
            said = str(error)
            # A tokenizer's is one of two.
            assert name in said
            assert str(adapter) in said
            refused.append(said)

    reads()
    assert refused
    assert set(adapter.parent.parent.iterdir()) == beside


@pytest.mark.parametrize("name", ["../result.json", "/result.json", "config.json", "model.safetensors"])
def test_what_is_noted_beside_the_weights_is_written_nowhere_else(adapter_of, name):
    adapter, base = adapter_of("cola")
    (adapter / "metrics.json").write_text(json.dumps(METRICS | {name: {"f1": 1.0}}))
    with pytest.raises(CheckpointError, match=re.escape(f"metrics.json notes '{name}'")):
        use(adapter, base, "cola")
    assert not (adapter.parent / "result.json").exists()


def build_with_little_memory(adapter, base, changes):
    torch.set_num_threads(1)
    (adapter / "config.json").write_text(json.dumps(json.loads((adapter / "config.json").read_text()) | changes))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        use(adapter, base, "cola")
    except ValueError as error:
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used
        os._exit(0 if str(adapter / "config.json") in str(error) and grown < 200_000 else 1)
    os._exit(2)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_labels": 10**7},
        {"hidden_size": 400_000, "num_attention_heads": 4},
        {"num_hidden_layers": 10**6},
        {"vocab_size": 10**8},
        {"max_position_embeddings": 10**8},
        {"intermediate_size": 10**8},
    ],
)
def test_a_few_bytes_do_not_ask_for_all_memory(adapter_of, changes):
    adapter, base = adapter_of("cola")
    process = multiprocessing.get_context("fork").Process(
        target=build_with_little_memory, args=(adapter, base, changes)
    )
    process.start()
    process.join(60)
    process.kill()
    assert process.exitcode == 0
