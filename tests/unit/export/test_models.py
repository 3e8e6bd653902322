"""What `make models` builds, leaves alone and refuses, and the files an export leaves behind."""

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import interruptions
import pytest
import torch
from google.protobuf import text_format
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from trident_bench.tuning.named import MARK
from trident_client import contract
from trident_server import installation
from trident_server.machine import Machine, processor
from trident_server.repository import check_repository
from trident_training import models as served
from trident_training.checkpoints.loading import load_encoder
from trident_training.checkpoints.pooling import Pooling
from trident_training.checkpoints.precision import Precision, processor_flags, resolve, weight_steps
from trident_training.checkpoints.prompts import NO_PROMPTS
from trident_training.cli import app
from trident_training.export import heads, pipeline
from trident_training.export.heads import Head
from trident_training.export.parity import ParityError, Tolerance
from trident_training.models import Recipe, State
from trident_training.repository import CONFIGURATION, ModelSet, RepositoryError
from trident_training.tasks.qa.task import TASK as QA
from trident_training.tasks.sts.card import SimilarityCard
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.scoring import checkpoint_predictor
from trident_training.tasks.sts.task import TASK as STS
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

SOURCE = Path(__file__).resolve().parents[3] / "model_repository"


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_encoder: Callable[[str], PreTrainedModel]) -> Path:
    """Save a tiny encoder with a tokenizer of its own."""
    folder = tmp_path / "checkpoint"
    tiny_encoder("bert").save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat"]
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Copy the repository's source, without anything built, sized for the tiny encoder."""
    folder = tmp_path / "model_repository"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__"))
    for file in folder.glob("sts*/config.pbtxt"):
        file.write_text(file.read_text().replace("384", "32").replace('"256"', '"40"'))
    return folder


@pytest.fixture
def recipe(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Make the tiny encoder all that the project ships."""
    recipe = Recipe("sts", STS, str(checkpoint), "a tiny encoder")
    for name in list(served.SHIPPED):
        monkeypatch.delitem(served.SHIPPED, name)
    monkeypatch.setitem(served.SHIPPED, "sts", recipe)
    return recipe


@pytest.fixture
def target(repository: Path) -> ModelSet:
    return ModelSet(repository, STS.spec, "sts")


def state(recipe: Recipe, target: ModelSet, precision: Precision = Precision.FLOAT32) -> State:
    return served.state(recipe, target, precision)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, re.sub(r"\s+", " ", result.output)


def test_models_are_built_once_and_then_left_alone(recipe: Recipe, target: ModelSet) -> None:
    assert state(recipe, target) is State.MISSING
    code, printed = run("models", "--repository", target.repository, "--dtype", "float32")
    assert code == 0
    assert "sts: built from a tiny encoder in float32" in printed
    assert re.search(r"; [\d,]+ tokens a second on \d+ threads?,", printed)
    built = target.network_file.stat().st_mtime_ns
    code, printed = run("models", "--repository", target.repository, "--dtype", "float32")
    assert (code, printed.strip()) == (0, "✓ sts: fresh")
    assert target.network_file.stat().st_mtime_ns == built


def test_the_report_says_what_was_exported_and_how_close_it_is(recipe: Recipe, target: ModelSet) -> None:
    report = served.build(recipe, target, Precision.FLOAT32)
    assert report == json.loads(target.report_file.read_text())
    assert report["source"] == "a tiny encoder"
    assert report["dtype"] == "float32"
    assert report["torch"] == torch.__version__
    assert report["packed"] is True
    assert 0 <= report["parity"]["largest_difference"] <= 1e-5
    assert report["parity"]["longest"] == report["max_tokens"] == 40
    # Of 4, 8, ... and 40 tokens.
    speed = report["speed"]
    assert (speed["sequences"], speed["tokens"], speed["threads"]) == (10, 220, torch.get_num_threads())
    assert speed["tokens_per_second"] == pytest.approx(22 * speed["sequences_per_second"], rel=0.01)
    assert speed["processor"] == processor()
    assert not list(target.repository.rglob(".export*")), "a draft was left behind"


def test_whatever_a_model_was_made_from_makes_it_stale(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    assert state(recipe, target) is State.FRESH
    assert state(recipe, target, Precision.BFLOAT16) is State.STALE

    with monkeypatch.context() as patch:
        patch.setattr(served.metadata, "version", lambda package: "0.0.1")
        assert state(recipe, target) is State.STALE

    exporter = tmp_path / "exporter"
    folders = [exporter / folder.name for folder in served.EXPORTER]
    for folder, copy in zip(served.EXPORTER, folders, strict=True):
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with monkeypatch.context() as patch:
        patch.setattr(served, "EXPORTER", folders)
        assert state(recipe, target) is State.FRESH
        for name in ("packing.py", "sample.txt", "check.txt"):
            before = (exporter / "export" / name).read_text()
            (exporter / "export" / name).write_text("# changed")
            assert state(recipe, target) is State.STALE
            (exporter / "export" / name).write_text(before)

    weights = Path(recipe.checkpoint) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert state(recipe, target) is State.STALE


@pytest.mark.parametrize("name", ["cola", "qa", "sts"])
def test_the_code_of_a_tasks_head_decides_what_an_export_is(
    name: str, target: ModelSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = served.SHIPPED[name]
    files = served.head_files(shipped.task)
    assert len(files) == 1
    before = served.digest(shipped, target, Precision.FLOAT32)
    (tmp_path / "head.py").write_text(files[0].read_text() + "# changed")
    monkeypatch.setattr(served, "head_files", lambda task: [tmp_path / "head.py"])
    assert served.digest(shipped, target, Precision.FLOAT32) != before


def test_int8_is_built_anew_where_weights_take_other_bits(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for steps in (63, 127):
        monkeypatch.setattr(served, "weight_steps", lambda steps=steps: steps)
        found[steps] = [served.digest(recipe, target, each) for each in (Precision.INT8, Precision.FLOAT32)]
    assert found[63][0] != found[127][0]
    assert found[63][1] == found[127][1]


def test_int8_is_fitted_to_text_as_the_models_own_tokenizer_frames_it(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    plain = pipeline.sample
    monkeypatch.setattr(pipeline, "sample", lambda *arguments: given.append(arguments[0]) or plain(*arguments))
    served.build(recipe, target, Precision.INT8)
    assert given == [target.tokenizer_file.read_text()]


def test_an_adapters_weights_make_a_model_stale_and_its_card_does_not(
    recipe: Recipe, target: ModelSet, tmp_path: Path
) -> None:
    for name in ("adapter.safetensors", "adapter.safetensors.planes", "calibration.json", "README.md"):
        (tmp_path / name).write_text("before")
    adapted = dataclasses.replace(recipe, adapter=tmp_path)
    before = served.digest(adapted, target, Precision.FLOAT32)
    (tmp_path / "README.md").write_text("after")
    assert served.digest(adapted, target, Precision.FLOAT32) == before
    for name in ("adapter.safetensors", "adapter.safetensors.planes", "calibration.json"):
        (tmp_path / name).write_text("after")
        changed = served.digest(adapted, target, Precision.FLOAT32)
        assert changed != before
        before = changed


@pytest.mark.parametrize("file", ["network_file", "tokenizer_file", "report_file"])
def test_a_lost_file_makes_a_model_missing(recipe: Recipe, target: ModelSet, file: str) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    getattr(target, file).unlink()
    assert state(recipe, target) is State.MISSING


def test_a_cut_off_model_file_and_an_unreadable_report_are_built_anew(recipe: Recipe, target: ModelSet) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    content = target.network_file.read_bytes()
    target.network_file.write_bytes(content[:-10])
    assert state(recipe, target) is State.STALE
    target.network_file.write_bytes(content)
    target.report_file.write_text("{")
    assert state(recipe, target) is State.MISSING


def test_a_model_of_the_users_own_is_left_alone(
    recipe: Recipe, target: ModelSet, tmp_path: Path, tiny_encoder: Callable[[str], PreTrainedModel]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(recipe.checkpoint, own)
    tiny_encoder("electra").save_pretrained(own)
    code, printed = run("export", "sts", "--checkpoint", own, "--repository", target.repository, "--dtype", "float32")
    assert code == 0, printed
    code, printed = run("models", "--repository", target.repository, "--dtype", "float32")
    assert (code, printed.strip()) == (0, "✓ sts: your own export; left alone")
    # Asked for by name, the shipped model comes back.
    code, _ = run("export", "sts", "--repository", target.repository, "--dtype", "float32", "--replace")
    assert code == 0
    assert state(recipe, target) is State.FRESH


def test_an_export_outside_its_tolerance_is_not_installed(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    before = target.network_file.read_bytes(), target.report_file.read_text()
    original = heads.embedding_head

    def strict(encoder: PreTrainedModel, *options: Any) -> heads.Head:
        head = original(encoder, *options)
        head.tolerances[Precision.BFLOAT16] = Tolerance(difference=1e-9, cosine=1.0)
        return head

    monkeypatch.setattr(heads, "embedding_head", strict)
    code, printed = run("models", "--repository", target.repository, "--dtype", "bfloat16")
    assert code == 1
    assert "the export differs from the plain model" in printed
    assert before == (target.network_file.read_bytes(), target.report_file.read_text())


def test_an_export_that_has_no_room_for_its_model_leaves_the_old_one(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    before = contents(target.repository)

    def save(module: torch.jit.ScriptModule, file: str) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch.jit.RecursiveScriptModule, "save", save)
    arguments = ("export", "sts", "--repository", target.repository, "--dtype", "float32", "--replace")
    code, printed = run(*arguments)
    assert code == 1
    assert "✗ sts: there is no room left to write" in printed
    assert contents(target.repository) == before


@pytest.fixture
def exports(
    recipe: Recipe, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path, str, str], dict[str, str]]:
    """Return what exports a model that is a text into a repository; its configurations tell which, too."""
    exported = pipeline.export(heads.embedding_head(load_encoder(recipe.checkpoint)), Precision.FLOAT32, 40)
    # Forked processes have none of its threads.
    head = STS.head(recipe)
    monkeypatch.setattr(type(STS), "head", lambda self, recipe: head)
    # What a process wrote that ended, the next one reads, whatever is on the disk.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    prompts = Path(recipe.checkpoint) / "config_sentence_transformers.json"

    def export(folder: Path, name: str, text: str) -> dict[str, str]:
        module: Any = SimpleNamespace(save=lambda file: Path(file).write_text(text))
        monkeypatch.setattr(pipeline, "export", lambda *_, **__: dataclasses.replace(exported, module=module))
        SimilarityCard(Kind.BI_ENCODER, Pooling.MEAN, 0.5, ("en", text)).write(Path(recipe.checkpoint))
        prompts.write_text(json.dumps({"prompts": {text: text}}))
        served.build(dataclasses.replace(recipe, name=name), ModelSet(folder, STS.spec, name), Precision.FLOAT32)
        return interruptions.contents(folder)

    return export


# Of all steps those of an installation are tried where it has its own tests.
@pytest.mark.parametrize(
    ("first", "name", "how"), [(0, "sts", "killed"), (1, "sts_ko", "killed"), (2, "sts_ko", "full")]
)
def test_an_export_that_ends_at_any_step_leaves_a_model_and_its_own_configurations(
    exports: Callable[[Path, str, str], dict[str, str]],
    repository: Path,
    tmp_path: Path,
    first: int,
    name: str,
    how: str,
) -> None:
    old = exports(repository, name, "old")
    shutil.copytree(repository, tmp_path / "new")
    new = exports(tmp_path / "new", name, "new")
    changed = {file for file in new if old[file] != new[file]}
    assert {f"{name}/config.pbtxt", f"{name}_tokenizer/config.pbtxt", f"{name}_encoder/1/model.pt"} <= changed
    seen = set()
    for step in range(first, 1000, 3):
        folder = tmp_path / f"at-{step}"
        shutil.copytree(repository, folder)
        ended = interruptions.interrupt(lambda folder=folder: exports(folder, name, "new"), folder, step, how)
        if not installation.unfinished(folder):
            # As it is, before anybody has looked.
            assert interruptions.contents(folder) in (old, new)
        installation.finish(folder)
        assert interruptions.contents(folder) in (old, new)
        check_repository(folder, sets=[name])
        seen.add(interruptions.contents(folder) == new)
        if step % 10 == 0:
            assert exports(folder, name, "new") == new
        shutil.rmtree(folder)
        if not ended:
            break
    assert step > 30
    assert seen == {False, True}


def test_what_is_not_built_anew_keeps_its_configuration(
    shipped_variant: ModelSet, recipe: Recipe, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("models", "--repository", shipped_variant.repository, "--dtype", "float32")
    assert run(*models)[0] == 0
    before = contents(shipped_variant.repository)
    SimilarityCard(Kind.BI_ENCODER, Pooling.MEAN, 0.123).write(checkpoint)
    assert state(served.SHIPPED["sts_ko"], shipped_variant) is State.STALE

    def refuses(*arguments: object, **options: object) -> None:
        raise ValueError("it is refused")

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "export", refuses)
        code, printed = run(*models)
    assert code == 1
    assert "✗ sts_ko: it is refused" in printed
    assert contents(shipped_variant.repository) == before
    assert run(*models)[0] == 0
    assert parameters(shipped_variant)["threshold"] == "0.123"


def test_what_a_killed_export_left_to_do_is_done_before_anything_is_built(recipe: Recipe, target: ModelSet) -> None:
    served.build(recipe, target, Precision.FLOAT32)
    whole = contents(target.repository)
    pending = target.folder() / ".export" / "sts_encoder" / "1"
    pending.mkdir(parents=True)
    for file in (target.network_file, target.report_file):
        file.rename(pending / file.name)
    (target.folder() / ".export.killed").mkdir()
    code, printed = run("models", "--repository", target.repository, "--dtype", "float32")
    assert (code, printed.strip()) == (0, "✓ sts: fresh")
    assert contents(target.repository) == whole


def test_an_encoder_of_another_width_is_sent_to_a_name_of_its_own(recipe: Recipe, target: ModelSet) -> None:
    config = target.folder("encoder") / "config.pbtxt"
    config.write_text(config.read_text().replace("32 ]", "48 ]"))
    code, printed = run("models", "--repository", target.repository, "--dtype", "float32")
    assert code == 1
    assert "is 32 wide, and sts_encoder is configured for 48; export it under a name of its own" in printed


def test_a_variant_stands_beside_the_first(recipe: Recipe, target: ModelSet) -> None:
    arguments = ["--name", "sts_ko", "--max-tokens", "24", "--checkpoint", recipe.checkpoint]
    code, printed = run("export", "sts", *arguments, "--repository", target.repository, "--dtype", "float32")
    assert code == 0, printed
    variant = ModelSet(target.repository, STS.spec, "sts_ko")
    assert variant.network_file.is_file()
    assert variant.tokenizer_file.is_file()
    assert (variant.width(), variant.max_tokens()) == (32, 24)
    assert json.loads(variant.report_file.read_text())["parity"]["longest"] == 24
    steps = [step.model_name for step in configuration(variant).ensemble_scheduling.step]
    assert steps == ["sts_ko_tokenizer", "sts_ko_encoder"]
    model = variant.folder("tokenizer") / "1" / "model.py"
    assert model.read_text() == (target.folder("tokenizer") / "1" / "model.py").read_text()
    assert (variant.folder("tokenizer") / "warmup" / "short").is_file()
    assert warmups(configuration(variant, "encoder")) == [8, 24, 24]
    on_gpu = configuration(variant, "encoder", "configs/gpu.pbtxt")
    assert warmups(on_gpu) == [8, 24, 24]
    assert list(on_gpu.output[0].dims) == [32]
    assert not target.network_file.exists(), "the first was not asked for"


@pytest.mark.parametrize("name", ["cola", "qa", "sts_encoder", "sts_ko_tokenizer"])
def test_a_variant_cannot_take_another_models_name(recipe: Recipe, target: ModelSet, name: str) -> None:
    before = {file: file.read_bytes() for file in target.repository.rglob("*") if file.is_file()}
    code, printed = run(
        "export", "sts", "--name", name, "--checkpoint", recipe.checkpoint, "--repository", target.repository
    )
    assert code == 1
    assert "give the variant another name" in printed
    assert before == {file: file.read_bytes() for file in target.repository.rglob("*") if file.is_file()}


def test_a_checkpoint_that_is_not_there_is_named(recipe: Recipe, target: ModelSet, tmp_path: Path) -> None:
    code, printed = run("export", "sts", "--checkpoint", tmp_path / "nowhere", "--repository", target.repository)
    assert code == 1
    assert "a checkpoint's folder or hub name is accepted" in printed


@pytest.mark.parametrize("name", ["", "Sts", "sts-ko", "../sts", "1sts", "sts ko"])
def test_names_that_triton_or_a_file_system_might_trip_over_are_refused(target: ModelSet, name: str) -> None:
    with pytest.raises(RepositoryError, match="cannot name a model"):
        ModelSet(target.repository, STS.spec, name)


def test_a_repository_without_its_configuration_is_named(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, printed = run("models", "--repository", tmp_path / "empty", "--dtype", "float32")
    assert code == 1
    assert "config.pbtxt is missing; name a complete model repository" in printed


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 sse", Precision.BFLOAT16),
        ("fpu amx_bf16", Precision.BFLOAT16),
        ("fpu avx2 avx512f", Precision.INT8),
        ("fpu avx2 avx512_bf16", Precision.BFLOAT16),
        ("fpu avx2 avx512_bf16 avx512_vnni", Precision.INT8),
        # libtorch does not use it: the sums of products are of 16 bits.
        ("fpu avx2 avx_vnni", Precision.INT8),
        ("fpu sse4_2", Precision.FLOAT32),
    ],
)
def test_auto_takes_what_the_processor_is_fast_at(tmp_path: Path, flags: str, expected: Precision) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: bf16 in a name is no flag\nflags\t\t: {flags}\n")
    assert resolve(Precision.AUTO, cpuinfo) is expected
    portable = Precision.BFLOAT16 if "bf16" in flags else Precision.FLOAT32
    assert resolve(Precision.PORTABLE, cpuinfo) is portable
    assert weight_steps(cpuinfo) == (127 if "avx512_vnni" in flags else 63)
    assert Machine(flags=frozenset(processor_flags(cpuinfo))).dtype == expected.value
    assert resolve(Precision.FLOAT16, cpuinfo) is Precision.FLOAT16
    assert resolve(Precision.AUTO, tmp_path / "missing") is Precision.FLOAT32


def test_what_auto_computes_less_exactly_than_accepted_is_served_in_the_next_best_and_stays_fresh(
    recipe: Recipe, target: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, refused = recipe.task.head, {Precision.INT8}

    def strict(recipe: Recipe) -> Head:
        head = plain(recipe)
        return dataclasses.replace(
            head, tolerances=dict(head.tolerances) | dict.fromkeys(refused, Tolerance(1e-9, 1.0))
        )

    monkeypatch.setattr(type(recipe.task), "head", staticmethod(strict))
    found = {Precision.AUTO: [Precision.INT8, Precision.BFLOAT16, Precision.FLOAT32]}
    monkeypatch.setattr(served, "candidates", lambda precision: found.get(precision, [precision]))
    with pytest.raises(ParityError, match="differs from the plain model"):
        served.build(recipe, target, Precision.INT8)
    report = served.build(recipe, target, Precision.AUTO)
    assert report["dtype"] == "bfloat16"
    assert report["refused"].startswith("int8 is refused")
    refused.add(Precision.BFLOAT16)
    report = served.build(recipe, target, Precision.AUTO)
    assert report["dtype"] == "float32"
    assert "; bfloat16 is refused" in report["refused"]
    assert state(recipe, target, Precision.INT8) is State.FRESH


def test_finding_every_model_fresh_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from trident_training import cli, models\n"
        "from trident_training.checkpoints.precision import Precision\n"
        f"list(models.plan(Path({str(SOURCE)!r}), Precision.FLOAT32))\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.fixture
def shipped_variant(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, target: ModelSet) -> ModelSet:
    """A second set that the project ships."""
    monkeypatch.setitem(served.SHIPPED, "sts_ko", dataclasses.replace(recipe, name="sts_ko", languages=("ko",)))
    return ModelSet(target.repository, STS.spec, "sts_ko")


def test_a_shipped_variant_is_built_from_the_tasks_own_folders(shipped_variant: ModelSet) -> None:
    models = ("models", "--repository", shipped_variant.repository, "--dtype", "float32")
    assert run(*models)[0] == 0
    assert parameters(shipped_variant)["languages"] == "ko"
    assert run(*models)[1].strip() == "✓ sts: fresh ✓ sts_ko: fresh"
    # What is changed at the source is changed in the variant the next time.
    source = shipped_variant.repository / "sts_tokenizer" / "1" / "model.py"
    source.write_text(source.read_text() + "# changed\n")
    file = shipped_variant.folder() / "config.pbtxt"
    before = file.read_text()
    run(*models)
    assert (shipped_variant.folder("tokenizer") / "1" / "model.py").read_text() == source.read_text()
    assert file.read_text() == before


def test_a_shipped_variant_with_a_length_of_its_own_stays_fresh(
    shipped_variant: ModelSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = dataclasses.replace(served.SHIPPED["sts_ko"], max_tokens=shipped_variant.source.max_tokens() + 1)
    monkeypatch.setitem(served.SHIPPED, "sts_ko", longer)
    models = ("models", "--repository", shipped_variant.repository, "--dtype", "float32")
    assert run(*models)[0] == 0
    assert json.loads(shipped_variant.report_file.read_text())["max_tokens"] == longer.max_tokens
    assert run(*models)[1].strip() == "✓ sts: fresh ✓ sts_ko: fresh"


def test_a_shipped_variant_has_its_tasks_width_and_its_recipes_length(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = served.SHIPPED["cola_small"]
    shipped = {"cola_long": dataclasses.replace(small, name="cola_long", max_tokens=200), "cola_small": small}
    monkeypatch.setattr(served, "SHIPPED", shipped)
    found = {target.name: target for _, target, _ in served.plan(repository, Precision.FLOAT32)}
    assert {name: each.max_tokens() for name, each in found.items()} == {"cola_long": 200, "cola_small": 128}
    assert warmups(configuration(found["cola_long"], "classifier"))[-1] == 200
    for target in found.values():
        for part in ("", "classifier"):
            outputs = {each.name: list(each.dims) for each in configuration(target, part).output}
            assert outputs["PROBABILITY"] == [1]


def test_an_export_of_ones_own_under_a_shipped_variants_name_is_left_alone(
    shipped_variant: ModelSet, checkpoint: Path
) -> None:
    export = ("export", "sts", "--name", "sts_ko", "--checkpoint", checkpoint, "--max-tokens", 24, "--language", "fi")
    assert run(*export, "--repository", shipped_variant.repository, "--dtype", "float32")[0] == 0
    printed = run("models", "--repository", shipped_variant.repository, "--dtype", "float32")[1]
    assert "sts_ko: your own export; left alone" in printed
    assert shipped_variant.max_tokens() == 24
    assert parameters(shipped_variant)["languages"] == "fi"


def test_what_a_fine_tuning_noted_decides_pooling_and_is_told_to_clients(
    recipe: Recipe, target: ModelSet, checkpoint: Path
) -> None:
    SimilarityCard(Kind.BI_ENCODER, Pooling.CLS, 0.4321, ("en", "ko"), {"spearman": 0.8}).write(checkpoint)
    run("export", "sts", "--checkpoint", checkpoint, "--repository", target.repository, "--dtype", "float32")
    exported = torch.jit.load(target.network_file)
    ids = torch.tensor([[5, 6, 7]])
    first = load_encoder(checkpoint)(input_ids=ids).last_hidden_state[:, 0]
    answer, _ = exported(ids[0].to(torch.int32), torch.tensor([[3]], dtype=torch.int32))
    torch.testing.assert_close(answer, torch.nn.functional.normalize(first, dim=1), atol=1e-5, rtol=0)
    shown = parameters(target)
    assert shown == {"task": "sts", "languages": "en,ko", "threshold": "0.4321", "metrics": '{"spearman": 0.8}'}
    # Told otherwise, or exported again: once, and not a second time beside it.
    options = ("--threshold", "0.5", "--language", "fi", "--repository", target.repository, "--dtype", "float32")
    run("export", "sts", "--checkpoint", checkpoint, "--replace", *options)
    assert parameters(target) == shown | {"languages": "fi", "threshold": "0.5"}


def test_only_a_bi_encoder_is_served(recipe: Recipe, target: ModelSet, checkpoint: Path) -> None:
    SimilarityCard(Kind.CROSS_ENCODER).write(checkpoint)
    code, printed = run("export", "sts", "--checkpoint", checkpoint, "--repository", target.repository)
    assert code == 1
    assert "is a cross-encoder; only a bi-encoder is served" in printed


def configuration(target: ModelSet, part: str = "", file: str = "config.pbtxt") -> model_config_pb2.ModelConfig:
    return text_format.Parse((target.folder(part) / file).read_text(), model_config_pb2.ModelConfig())


def parameters(target: ModelSet) -> dict[str, str]:
    return {name: value.string_value for name, value in configuration(target).parameters.items()}


def warmups(config: model_config_pb2.ModelConfig) -> list[int]:
    """Return the tokens of each warm-up request that has a length of its own."""
    return [warmup.inputs["INPUT_IDS"].dims[0] for warmup in config.model_warmup]


@pytest.mark.parametrize("name", ["cola", "qa", "sts"])
def test_the_committed_configurations_tell_what_is_shipped(name: str) -> None:
    target = ModelSet(SOURCE, served.SHIPPED[name].task.spec, name)
    facts = {key: value for key, value in served.SHIPPED[name].facts().items() if value is not None}
    shown = parameters(target)
    assert {
        key: json.loads(value) if key in {"threshold", "metrics"} else value for key, value in shown.items()
    } == facts


def test_a_readers_variant_warms_up_with_windows_of_its_own_length(repository: Path) -> None:
    variant = ModelSet(repository, QA.spec, "qa_short")
    with variant.drafting() as draft:
        draft.copy(variant.source, 2, 48, {})
    reader = variant.folder("reader")
    assert warmups(configuration(variant, "reader"))[-1] == 48
    assert int.from_bytes((reader / "warmup" / "window").read_bytes(), "little") == 48
    assert int.from_bytes((reader / "warmup" / "eight").read_bytes()[:4], "little") == 8


def test_a_configuration_tuned_for_a_model_is_not_its_variants(repository: Path) -> None:
    configs = repository / "qa_reader" / "configs"
    configs.mkdir(exist_ok=True)
    (configs / "host.pbtxt").write_text(f"{MARK}: it is made anew there\n")
    (configs / "other.pbtxt").write_text("# somebody's\n")
    variant = ModelSet(repository, QA.spec, "qa_short")
    with variant.drafting() as draft:
        draft.copy(variant.source, 2, None, {})
    copied = {file.name for file in (variant.folder("reader") / "configs").iterdir()}
    assert "other.pbtxt" in copied
    assert "host.pbtxt" not in copied


def test_a_refused_export_leaves_what_clients_are_told(
    recipe: Recipe, target: ModelSet, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ("export", "sts", "--name", "sts_ko", "--checkpoint", checkpoint, "--repository", target.repository)
    assert run(*export, "--threshold", "0.4", "--dtype", "float32")[0] == 0
    variant = ModelSet(target.repository, STS.spec, "sts_ko")
    before = parameters(variant)
    assert before["threshold"] == "0.4"
    SimilarityCard(Kind.CROSS_ENCODER).write(checkpoint)
    assert "is a cross-encoder" in run(*export, "--threshold", "0.7", "--replace")[1]
    assert parameters(variant) == before


@pytest.mark.parametrize("lines", [1, 3])
def test_of_a_configuration_only_what_is_told_anew_changes(target: ModelSet, lines: int) -> None:
    file = target.folder("") / CONFIGURATION
    old = """parameters { key: "threshold" value: { string_value: '0.5' } }""".split(" ", lines - 1)
    same = """parameters { key: "languages" value: { string_value: 'en' } }"""
    own = """parameters { key: "own" value: { string_value: '#' } }"""
    written = ("# A set.", 'platform: "ensemble"', "# Seldom.", own, same)
    file.write_text("\n".join([*written, *old, ""]), "utf-8")
    told = {"languages": "en", "threshold": 0.25, "metrics": {"spearman": 0.9}}
    target.describe(told)
    found = file.read_text("utf-8")
    facts = {"own": "#", "languages": "en", "threshold": "0.25", "metrics": '{"spearman": 0.9}'}
    assert target.parameters("") == facts
    assert found.startswith("# A set.\n")
    if lines == 1:
        assert found.splitlines()[:5] == list(written)
        assert "threshold" in found.splitlines()[5]
    # Told again, not a byte is another.
    target.describe(told)
    assert file.read_text("utf-8") == found


def test_a_set_takes_its_prompts_from_the_checkpoint_and_a_fine_tuned_one_has_none(
    target: ModelSet, checkpoint: Path
) -> None:
    configured = {"prompts": {"query": "a cat ", "passage": "cat "}, "default_prompt_name": "query"}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(configured))
    export = ("export", "sts", "--checkpoint", checkpoint, "--repository", target.repository, "--dtype", "float32")
    variant = ModelSet(target.repository, STS.spec, "sts_multi")
    assert run(*export, "--name", "sts_multi")[0] == 0
    told = variant.parameters("tokenizer")
    assert json.loads(told["prompts"]) == configured["prompts"]
    assert told["default_prompt_name"] == "query"
    # A checkpoint's own score is of texts with the default in front.
    own = checkpoint_predictor(str(checkpoint), 16).tokenizer
    assert own is not None
    assert own("cat")["input_ids"] == [5, 6, 6]
    # The next export into the same folders has none.
    (checkpoint / "config_sentence_transformers.json").unlink()
    assert run(*export, "--name", "sts_multi", "--replace")[0] == 0
    assert set(variant.parameters("tokenizer")) == {"max_length", "vocabulary", "IN_PROCESS"}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(configured | {"default_prompt_name": "x"}))
    assert "there is no prompt 'x'; query, passage is there" in run(*export, "--name", "sts_multi", "--replace")[1]


def test_the_multilingual_encoder_has_the_prompts_that_it_was_trained_with(tmp_path: Path) -> None:
    prompts = STS.prompts("multilingual")
    assert dict(prompts.texts) == {"query": "query: ", "passage": "passage: "}
    assert prompts.text == "query: "
    # What was fine-tuned from it here learned without them.
    assert STS.prompts(str(tmp_path)) == served.SHIPPED["cola"].task.prompts("multilingual") == NO_PROMPTS


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--checkpoint", "./typo"), "✗ sts_own: './typo' cannot be loaded: "),
        (("--max-tokens", "67"), "the encoder takes 66 tokens, and max_length asks for 67"),
    ],
)
def test_a_refused_export_leaves_the_repository_as_it_was(
    recipe: Recipe, target: ModelSet, there: bool, change: tuple[str, str], says: str
) -> None:
    export = ("export", "sts", "--name", "sts_own", "--repository", target.repository, "--dtype", "float32")
    if there:
        assert run(*export, "--checkpoint", recipe.checkpoint, "--max-tokens", "24")[0] == 0
    before = contents(target.repository)
    code, printed = run(*export, "--checkpoint", recipe.checkpoint, *change, "--replace")
    assert code == 1
    assert says in printed
    assert contents(target.repository) == before


def test_a_variant_of_a_task_that_is_not_whole_is_refused(recipe: Recipe, target: ModelSet) -> None:
    (target.folder("embedding") / "config.pbtxt").unlink()
    before = contents(target.repository)
    export = ("export", "sts", "--name", "sts_own", "--checkpoint", recipe.checkpoint)
    code, printed = run(*export, "--repository", target.repository, "--dtype", "float32")
    assert code == 1
    assert "config.pbtxt is missing" in printed
    assert contents(target.repository) == before


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_new_tasks_folders_are_those_of_a_task_of_the_same_parts(tmp_path: Path) -> None:
    toy = dataclasses.replace(contract.COLA, name="toy")
    target = ModelSet(tmp_path, toy, "toy")
    target.write_like(ModelSet(SOURCE, contract.COLA, "cola"), max_tokens=40)
    assert target.max_tokens() == 40
    assert target.parameters("") == {"task": "toy"}
    assert "cola" not in (target.folder() / "config.pbtxt").read_text().partition("platform")[2]
    with pytest.raises(RepositoryError, match=r"'toy' is made of tokenizer, classifier .* 'sts' of tokenizer, encoder"):
        target.write_like(ModelSet(SOURCE, contract.STS, "sts"))
