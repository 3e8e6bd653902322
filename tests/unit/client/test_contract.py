"""The one table of tasks, and the model repository that it speaks of."""

from __future__ import annotations

import ast
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from trident_api.schemas import Question, Questions
from trident_client import AsyncTridentClient, TridentClient, _columns, contract
from trident_client.contract import TASKS, Ensemble, TaskSpec
from trident_training.repository import ModelSet, RepositoryError
from tritonclient.grpc.model_config_pb2 import ModelConfig

REPOSITORY = Path(__file__).parents[3] / "model_repository"
SCRIPTS = REPOSITORY.parent / "scripts"
ENSEMBLES = [(task, ensemble) for task, ensemble in contract.ensembles()]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's configurations, and beside them a set of each task whose sets are made."""
    folder: Path = tmp_path_factory.mktemp("models")
    shutil.copytree(
        REPOSITORY, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.pt", "*.json", "*_ko*", "*_small*")
    )
    for task in TASKS.values():
        if task.like is not None:
            made = ModelSet(folder, task, task.name)
            made.copy(made.source, task.width or 5, 40, {})
    return folder


@pytest.fixture(scope="module")
def configuration(repository: Path) -> Callable[[str], ModelConfig]:
    return lambda folder: text_format.Parse((repository / folder / "config.pbtxt").read_text(), ModelConfig())


def constants(folder: str, module: str = "model") -> dict[str, Any]:
    """Return the literals that a module of a Python model names."""
    return literals(REPOSITORY / folder / "1" / f"{module}.py")


def literals(file: Path) -> dict[str, Any]:
    tree = ast.parse(file.read_text())
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_literal(node.value)
    }


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("task", "ensemble"), ENSEMBLES, ids=[ensemble.name for _, ensemble in ENSEMBLES])
def test_ensembles_are_configured_as_the_contract_has_them(
    configuration: Callable[[str], ModelConfig], task: TaskSpec, ensemble: Ensemble
):
    config = configuration(ensemble.of(task.name))

    assert config.max_batch_size == ensemble.max_batch
    texts = {each.name for each in config.input if not each.optional}
    assert texts == {each.tensor for each in ensemble.required}
    numbers = {each.tensor for each in ensemble.numbers}
    assert {each.name for each in config.input} - texts == numbers | {
        each.tensor for each in ensemble.inputs if each.optional
    }
    named = {"FP32": "TYPE_FP32", "INT32": "TYPE_INT32", "BYTES": "TYPE_STRING"}
    types = ModelConfig.DESCRIPTOR.file.enum_types_by_name["DataType"]
    assert {each.name: types.values_by_number[each.data_type].name for each in config.output} == {
        each.tensor: named[each.datatype] for each in ensemble.outputs
    }
    assert {*ensemble.truncations, *ensemble.counts} < {each.tensor for each in ensemble.outputs}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_parts_of_a_set_are_folders_and_its_network_answers_with_its_output(
    configuration: Callable[[str], ModelConfig], task: TaskSpec
):
    for part in task.parts:
        assert configuration(f"{task.name}_{part}").name in {"", f"{task.name}_{part}"}
    network = configuration(f"{task.name}_{task.network}")
    assert task.network_output in {output.name for output in network.output}


@pytest.mark.parametrize("task", [each for each in TASKS.values() if each.like], ids=lambda task: task.name)
def test_a_set_that_is_made_of_another_tasks_folders_has_steps_that_fit_each_other(repository: Path, task: TaskSpec):
    for named in ("config.pbtxt", "configs/gpu.pbtxt"):
        config = text_format.Parse((repository / f"{task.name}_classifier" / named).read_text(), ModelConfig())
        # In the order in which the network answers.
        assert [(each.name, *each.dims) for each in config.output] == [
            ("SCORES", task.width or 5), ("LOGITS", task.width or 5)
        ]  # fmt: skip
    tokenizer, main = (
        text_format.Parse((repository / folder / "config.pbtxt").read_text(), ModelConfig())
        for folder in (f"{task.name}_tokenizer", task.name)
    )
    assert tokenizer.parameters["pairs"].string_value == "joined"
    assert tokenizer.parameters["max_length"].string_value == "40"
    first, second = main.ensemble_scheduling.step
    assert (first.model_name, second.model_name) == (f"{task.name}_tokenizer", f"{task.name}_classifier")
    assert set(first.input_map) == {each.name for each in main.input} <= {each.name for each in tokenizer.input}
    assert set(first.output_map) - {"INPUT_IDS"} <= {each.name for each in tokenizer.output}
    tensors = {*first.output_map.values(), *second.output_map.values()} - {"input_ids"}
    assert tensors == {each.name for each in main.output}
    # Its own name, and another's, but not a task's that the repository has.
    ModelSet(repository, task, "topics").check_variant()
    with pytest.raises(RepositoryError, match="the name of a task's own models"):
        ModelSet(repository, task, "sts").check_variant()


@pytest.mark.parametrize("folder", ["cola_tokenizer", "sts_tokenizer"])
def test_tokenizers_take_texts_as_long_as_the_contract_says(folder: str):
    assert constants(folder)["MOST_BYTES"] == contract.MAX_TEXT_BYTES


def test_the_readers_models_have_the_contracts_limits():
    question, context = contract.QA.main.inputs

    assert constants("qa_tokenizer")["MOST_BYTES"] == {
        question.tensor: question.max_bytes,
        context.tensor: context.max_bytes,
    }
    numbers = {each.tensor: (each.minimum, each.maximum) for each in contract.QA.main.numbers}
    assert constants("qa_span_decoder")["ACCEPTED"] == numbers


def test_numbers_that_are_not_given_are_the_contracts():
    defaults = {each.field: each.default for each in contract.QA.main.numbers}
    assert constants("qa_span_decoder", "spans")["MAX_ANSWER_TOKENS"] == contract.DEFAULT_ANSWER_TOKENS
    source = (REPOSITORY / "qa_span_decoder" / "1" / "model.py").read_text()
    assert 'DEFAULTS = {"TOP_K": 1, "MAX_ANSWER_TOKENS": MAX_ANSWER_TOKENS, "NO_ANSWER": 1}' in source
    assert defaults == {"top_k": 1, "max_answer_tokens": contract.DEFAULT_ANSWER_TOKENS, "no_answer": 1}
    for shape in (Question, Questions):
        assert {name: shape.model_fields[name].default for name in defaults} == defaults


def test_mteb_is_told_of_the_longest_text_that_is_taken():
    # Where mteb is installed, nothing of the project need be.
    assert literals(SCRIPTS / "score_with_mteb.py")["MOST_BYTES"] == contract.MAX_TEXT_BYTES


@pytest.mark.parametrize("client", [TridentClient, AsyncTridentClient])
def test_docstrings_have_the_contracts_numbers(client: type[Any]):
    told = inspect.getdoc(client.answer)
    default = f"{contract.DEFAULT_ANSWER_TOKENS} when None"
    assert f"1 to {contract.MAX_ANSWERS};" in told
    assert f"1 to {contract.MAX_ANSWER_TOKENS}; {default}" in told
    assert f"in the longest answer; {default}" in inspect.getdoc(_columns.Answer)


def test_a_registered_task_is_known_and_none_takes_anothers_name():
    toy = Ensemble("toy", (), (), "toys", "/toy", "/toy", "toys", 1)
    mine = TaskSpec("toy", (toy,), "net", "OUT", (), ("accuracy",))

    with contract.registered(mine):
        assert contract.register(mine) is mine
        assert contract.ensemble_of("toy") == (mine, mine.main)
        assert contract.served_models() == ("cola", "qa", "sts", "sts_embedding", "toy")
        with pytest.raises(ValueError, match="'embed' is a task already"):
            contract.register(TaskSpec("other", (contract.STS.ensembles[1],), "net", "OUT", (), ("accuracy",)))
    assert "toy" not in TASKS
    with pytest.raises(KeyError):
        contract.ensemble_of("toy")
