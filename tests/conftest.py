"""What tests share: tiny pretrained checkpoints with tokenizers of their own, toy data, one Triton on the models."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import math
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis
import pytest
from served_models import (  # noqa: F401
    TRITON_STARTS,
    cache_dir,
    nothing_is_left,
    own_processes,
    serve_models,
    share_backends,
    triton,
)
from xdist.scheduler import LoadFileScheduling

TESTS = Path(__file__).parent
#: Architectures of T5's kind.
T5_KIND = {"t5", "mt5", "umt5"}

# Servers, trainings and tests compute at the same time: a thread of torch that spins while it waits for another one
# takes the core from whoever works. Set before torch is loaded, for every process that a test starts.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# Workers share the cores among each other: of models so small, a second thread waits more than it computes.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# `nohup` starts a run with SIGHUP ignored, a shell in the background with SIGINT: what is ignored stays so in every
# child, and servers that must obey a signal would not get it. What has a handler begins anew in children.
for _number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda number, frame: None)

# The same examples in each run: what fails, fails again. "--hypothesis-profile=default" looks for others.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


# Groups, each done by one worker: files that ask the built models, of whom each worker would start a server of its own,
# and the package that has servers of its own. They are begun first, and after them these: what is left for the end
# takes seconds a file, else one core would wait for the other.
MODELS, PACKAGE = "models", "serving/pytorch_backend"
#: In a test's stash: its group. In the stash of the run's own configuration: a folder for a file of all groups.
GROUP, GROUPS = pytest.StashKey[str](), pytest.StashKey[tempfile.TemporaryDirectory[str]]()
LONGEST = (
    "serving/test_wheels.py",
    "unit/training/test_matrix.py",
    "serving/test_several_hosts.py",
    "serving/faults/test_faults.py",
    "unit/training/test_finetune_processes.py",
    "unit/training/test_tuning.py",
    "serving/test_server_command.py",
    "unit/training/test_finetune.py",
    "unit/training/test_finetune_similarity.py",
)
# Then in turns what waits for servers and what computes.
WAITING, COMPUTING = "serving", ("unit/training", "unit/export")


# Fixtures that make models of transformers.
MAKERS = {"tiny_checkpoint", "tiny_encoder", "tiny_classifier", "tiny_reader"}
#: Of the batches that most exports of them are compared in: 66 sequences in place of 2,016.
SMALL_BATCH = 12


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest. What makes a model is slow, whether it says so or not."""
    asking = {item.path for item in items if _asks_the_built_models(item)}
    for item in items:
        if MAKERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
        if item.path in asking:
            item.stash[GROUP] = MODELS
        elif _path(item).startswith(PACKAGE):
            item.stash[GROUP] = PACKAGE
    places = _places(items)
    # Files stay together, for sorting is stable.
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what all tests have loaded out of every search for garbage: of the whole suite, each takes 0.4 seconds.

    A worker writes down the groups before it says that it has collected.
    """
    gc.collect()
    gc.freeze()
    if (worker := getattr(session.config, "workerinput", None)) is not None:
        groups = {item.nodeid.partition("::")[0]: item.stash.get(GROUP, None) for item in session.items}
        Path(worker["groups"]).write_text(json.dumps({path: group for path, group in groups.items() if group}))


@pytest.fixture(scope="session", autouse=True)
def no_application_looks_for_garbage() -> Iterator[None]:
    """Let no application do so as it starts, and end the above as it stops; there are hundreds."""
    app = sys.modules.get("trident_api.app")
    if app is None:
        yield
        return
    with mock.patch.object(app, "_left_out_of_garbage_collection", contextlib.nullcontext):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Do for tests of them alone what takes longer than some epochs of a tiny model.

    That is to draw a training's pictures, and to compare an export with the plain model in batches of every size.
    """
    makes = MAKERS & set(getattr(item, "fixturenames", ()))
    with contextlib.ExitStack() as without:
        if "tiny_checkpoint" in makes and not item.get_closest_marker("pictures"):
            draw = mock.patch("matplotlib.figure.Figure.savefig", lambda figure, file, **options: Path(file).touch())
            without.enter_context(draw)
        if makes and not item.get_closest_marker("every_batch_size"):
            without.enter_context(mock.patch("trident_training.export.parity.LARGEST_BATCH", SMALL_BATCH))
        return (yield)


def _path(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).as_posix()


def _asks_the_built_models(item: pytest.Item) -> bool:
    """Say whether a test takes the session's server, and no other of that name."""
    info = getattr(item, "_fixtureinfo", None)
    found = info.name2fixturedefs.get("triton") if info is not None else None
    return bool(found) and found[-1].scope == "session"


def _places(items: list[pytest.Item]) -> dict[Path, tuple[int, int]]:
    """Return where each file is to stand."""
    places: dict[Path, tuple[int, int]] = {}
    turns: Counter[bool] = Counter()
    for item in items:
        path, group = _path(item), item.stash.get(GROUP, None)
        if item.path in places:
            continue
        if group is not None:
            places[item.path] = 0, (MODELS, PACKAGE).index(group)
        elif path in LONGEST:
            places[item.path] = 1, LONGEST.index(path)
        elif path.startswith((WAITING, *COMPUTING)):
            waits = path.startswith(WAITING)
            places[item.path] = 2, turns[waits]
            turns[waits] += 1
        else:
            places[item.path] = 3, 0
    return places


class ByFile(LoadFileScheduling):
    """A worker takes whole files, and whole groups of them.

    pytest-xdist has groups of its own, ``--dist loadgroup``, as part of a test's id: with pytest 9.2, whose ids do not
    change, they are ignored without a word (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    @functools.cached_property
    def _groups(self) -> dict[str, str]:
        # All workers have collected, and written the same.
        return json.loads((Path(self.config.stash[GROUPS].name) / "groups.json").read_text())

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return self._groups.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """Take ``--dist loadfile`` for that."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where it is to write the groups."""
    stash = node.config.stash
    if GROUPS not in stash:
        stash[GROUPS] = tempfile.TemporaryDirectory(prefix="trident-tests-")
    node.workerinput["groups"] = str(Path(stash[GROUPS].name) / "groups.json")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker: hand the number of started Tritons to the run's own process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["triton_starts"] = session.config.stash.get(TRITON_STARTS, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add up what the workers started."""
    started = getattr(node, "workeroutput", {}).get("triton_starts", 0)
    node.config.stash[TRITON_STARTS] = node.config.stash.get(TRITON_STARTS, 0) + started


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what most of a run's time goes into."""
    terminalreporter.write_line(f"Triton was started {config.stash.get(TRITON_STARTS, 0)} times.")


SUBJECTS = ("the dog", "a cat", "my friend", "the old king", "Mary", "every student", "고양이", "the 🐟")
VERBS = ("sleeps", "laughs", "eats fish", "sees the dog", "runs", "sings well")
TIMES = ("today", "every day", "at home", "in the park", "")


def toy_sentences() -> list[tuple[str, int]]:
    """Return sentences and labels: the subject stands before the verb, or, wrongly, a second time after it."""
    rows = []
    for subject in SUBJECTS:
        for verb in VERBS:
            for time in TIMES:
                rows.append((" ".join(f"{subject} {verb} {time}".split()) + ".", 1))
                rows.append((" ".join(f"{verb} {subject} {subject} {time}".split()) + ".", 0))
    return rows


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in CoLA's own form: ``train.tsv`` and ``dev.tsv``."""
    folder = tmp_path_factory.mktemp("toy")
    rows = toy_sentences()
    for name, chosen in (("train", [row for i, row in enumerate(rows) if i % 7]), ("dev", rows[::7])):
        lines = (f"toy{len(text) % 2}\t{label}\t{'' if label else '*'}\t{text}\n" for text, label in chosen)
        (folder / f"{name}.tsv").write_text("".join(lines), "utf-8")
    return folder


def toy_question(index: int, rng: random.Random, words: int = 60) -> dict[str, Any]:
    """Return a question in SQuAD's flat form: every context has one of the places in it, and that is the answer."""
    text = [rng.choice(("sleeps", "laughs", "eats", "fish", "sees", "runs", "sings", "today")) for _ in range(words)]
    text[rng.randrange(words)] = place = rng.choice(("home", "park", "Mary"))
    context = " ".join(text)
    return {
        "id": str(index),
        "title": str(index // 5),
        "question": f"{rng.choice(SUBJECTS)}?",
        "context": context,
        "answers": {"text": [place], "answer_start": [context.index(place)]},
    }


@pytest.fixture(scope="session")
def make_question() -> Callable[..., dict[str, Any]]:
    """Return :func:`toy_question`."""
    return toy_question


@pytest.fixture(scope="session")
def toy_squad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in SQuAD's own form: 400 questions in 80 articles."""
    rng = random.Random(4)
    articles: dict[str, list[dict[str, Any]]] = {}
    for question in (toy_question(index, rng) for index in range(400)):
        (text,), (start,) = question["answers"]["text"], question["answers"]["answer_start"]
        qa = {
            "id": question["id"],
            "question": question["question"],
            "answers": [{"text": text, "answer_start": start}],
        }
        articles.setdefault(question["title"], []).append({"context": question["context"], "qas": [qa]})
    file = tmp_path_factory.mktemp("squad") / "train.json"
    file.write_text(json.dumps({"data": [{"title": title, "paragraphs": each} for title, each in articles.items()]}))
    return file


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make, once for each architecture, a randomly initialised encoder with its kind of tokenizer, on disk."""

    @functools.cache
    def make(architecture: str) -> Path:
        import torch
        import transformers

        folder = tmp_path_factory.mktemp("checkpoints") / architecture
        tokenizer = _tokenizer(architecture)
        sizes = {
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 66,
            "pad_token_id": tokenizer.pad_token_id,
        }
        if architecture in {"albert", "electra"}:
            sizes["embedding_size"] = 16
        if architecture == "distilbert":
            # The same sizes under DistilBERT's own names.
            sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
        if architecture in T5_KIND:
            # No table of positions, and a decoder beside the encoder, as published checkpoints have one.
            own = {"d_model": 32, "num_layers": 2, "num_heads": 4, "d_kv": 8, "d_ff": 64}
            sizes = own | {name: sizes[name] for name in ("vocab_size", "pad_token_id")}
        torch.manual_seed(1)
        config = transformers.AutoConfig.for_model(architecture, **sizes)
        transformers.AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def _tokenizer(architecture: str):
    """Make the architecture's kind of tokenizer of the toy sentences: WordPiece, byte-level BPE or Unigram.

    Trainers of WordPiece and Unigram break ties by chance: with other token ids in each session, a toy model would
    learn well in one and badly in another.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    corpus = [text for text, _ in toy_sentences()]
    if architecture == "roberta":
        specials = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=list(specials.values()), initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(corpus, trainer)
    elif architecture in {"albert", *T5_KIND}:
        specials = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "[CLS]", "eos_token": "[SEP]"}
        if architecture in T5_KIND:
            # A text has no first token.
            specials = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "</s>"}
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        plain = [word for sentence in corpus for word in tokenizer.normalizer.normalize_str(sentence).split()]
        text = "".join("\u2581" + word for word in plain)
        words = {"\u2581" + word.strip(".,!?") for word in plain}
        counts = {piece: text.count(piece) for piece in sorted(words | set(text))}
        pieces = [*((each, 0.0) for each in specials.values())]
        pieces += [(piece, math.log(count / len(text))) for piece, count in counts.items()]
        tokenizer.model = models.Unigram(pieces, unk_id=1)
    else:
        specials = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
        if architecture == "mpnet":
            # The model takes token 1 for padding, whatever its configuration says.
            specials = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "[UNK]"}
        normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
        plain = map(normalizer.normalize_str, corpus)
        words = {word for sentence in plain for word, _ in splitter.pre_tokenize_str(sentence)}
        letters = sorted(set("".join(words)))
        pieces = dict.fromkeys([*specials.values(), *letters, *(f"##{each}" for each in letters), *sorted(words)])
        vocabulary = {piece: index for index, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
        tokenizer.add_special_tokens(list(specials.values()))
    frame = [specials[role] for role in ("bos_token", "eos_token") if role in specials]
    *opening, last = frame
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*opening, "$A", last]),
        pair=" ".join([*opening, "$A", last, "$B:1", f"{last}:1"]),
        special_tokens=[(each, tokenizer.token_to_id(each)) for each in frame],
    )
    if opening:
        specials |= {"cls_token": opening[0], "sep_token": last}
    without_types = {"distilbert", "mpnet", "roberta", *T5_KIND}
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (architecture not in without_types)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **specials)
