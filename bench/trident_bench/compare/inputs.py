"""What everybody is measured with: one set of weights, the same texts, and repositories that serve them alone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format
from tokenizers import Tokenizer

from trident_bench import texts
from trident_bench.repository import configuration, link_models

#: Tokens of a full window, question included, as the comparison serves the reader.
WINDOW_TOKENS = 384
VERSION = "1"
#: Texts whose embeddings every contender must give alike.
CHECKED = 8
EXPECTED = "expected.npy"
QA_TOKENIZER = "qa_tokenizer"
STS_MODELS = ("sts", "sts_tokenizer", "sts_encoder", "sts_embedding")
KOREAN_MODELS = ("sts_ko", "sts_ko_tokenizer", "sts_ko_encoder", "sts_ko_embedding")
#: What the multilingual encoder was trained with before every text; its package's engine always writes it.
PROMPT = "query: "
TASK_MODELS = ("cola", "cola_tokenizer", "cola_classifier", "qa", QA_TOKENIZER, "qa_reader", "qa_span_decoder")

Question = tuple[str, str]


@dataclass(frozen=True)
class Inputs:
    """Where it all is.

    Attributes:
        repository: the built model repository.
        checkpoint: folder of the Hugging Face model that holds the weights that ``sts`` serves.
        texts: JSON file of ``sentences``, ``korean`` and ``windows``, for programs in other environments.
        sentences: of mixed lengths, in no order.
        korean: as many Korean ones.
        windows: a question and as much of a passage as fills one window each.
        onnx: where the encoder's export to ONNX is, or will be.
        bfloat16: a repository with ``sts`` in bfloat16, or where it will be.
    """

    repository: Path
    checkpoint: Path
    texts: Path
    sentences: Sequence[str]
    korean: Sequence[str]
    windows: Sequence[Question]
    onnx: Path
    bfloat16: Path

    @property
    def expected(self) -> npt.NDArray[np.float32]:
        """Embeddings of the first sentences by the plain model in float32, ``[CHECKED, dim]``."""
        found: npt.NDArray[np.float32] = np.load(self.checkpoint / EXPECTED)
        return found


def prepare(repository: Path, folder: Path, sentences: int, windows: int) -> Inputs:
    """Write the texts into a folder; :func:`write_checkpoint` adds the weights.

    Args:
        repository: the built model repository.
        folder: where to; what an earlier run has left there is replaced.
        sentences: how many.
        windows: how many full windows.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = Tokenizer.from_file(str(repository / QA_TOKENIZER / VERSION / "tokenizer.json"))
    found = Inputs(
        repository=repository,
        checkpoint=folder / "checkpoint",
        texts=folder / "texts.json",
        sentences=texts.sentences(sentences),
        korean=texts.korean_sentences(sentences),
        windows=full_windows(tokenizer, windows, WINDOW_TOKENS),
        onnx=folder / "encoder.onnx",
        bfloat16=folder / "bfloat16",
    )
    content = {"sentences": found.sentences, "korean": found.korean, "windows": found.windows}
    found.texts.write_text(json.dumps(content))
    return found


def full_windows(tokenizer: Tokenizer, count: int, tokens: int) -> list[Question]:
    """Return questions with passages that are cut to fill one window of so many tokens, special tokens included.

    A passage is cut between two tokens of the tokenizer; what is cut off never makes a second window.
    """
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rng = random.Random(11)
    found = []
    for question, _ in texts.questions(count):
        # A word is at least a token.
        passage = texts.passage(tokens, rng)
        encoding = tokenizer.encode(question, passage)
        last = tokens - 2
        found.append((question, passage[: encoding.offsets[last][1]]))
    return found


def link_served(repository: Path, names: Sequence[str], folder: Path) -> Path:
    """Make a repository of links to some models of another; the reader's tokenizer makes windows of 384 tokens.

    Returns:
        ``folder``.
    """
    changed = {}
    if QA_TOKENIZER in names:
        tokenizer = configuration(repository, QA_TOKENIZER)
        tokenizer.parameters["max_length"].string_value = str(WINDOW_TOKENS)
        changed[QA_TOKENIZER] = text_format.MessageToString(tokenizer)
    return link_models(repository, names, folder, changed)


def write_checkpoint(inputs: Inputs) -> None:
    """Write the served weights as a Hugging Face model, in the base's own files, which old readers can read too."""
    # Heavy: whoever asks for help needs no torch.
    from safetensors.torch import save_file
    from sentence_transformers import SentenceTransformer
    from trident_training.checkpoints.adapters import merge_adapter
    from trident_training.checkpoints.loading import quiet
    from trident_training.models import SHIPPED

    recipe = SHIPPED["sts"]
    if recipe.adapter is None:
        raise ValueError(f"{recipe.title} has no adapter to merge")
    model = merge_adapter(recipe.adapter, recipe.checkpoint)
    folder = inputs.checkpoint
    shutil.copytree(recipe.checkpoint, folder)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with quiet():
        plain = SentenceTransformer(str(folder), device="cpu")
    expected = plain.encode(list(inputs.sentences[:CHECKED]), normalize_embeddings=True)
    np.save(folder / EXPECTED, np.asarray(expected, dtype=np.float32))


def write_bfloat16(inputs: Inputs) -> None:
    """Export ``sts`` in bfloat16 into a repository of its own."""
    # Heavy: whoever asks for help needs no torch.
    from trident_training.checkpoints.precision import Precision
    from trident_training.models import SHIPPED, build
    from trident_training.repository import ModelSet

    for model in STS_MODELS:
        built = shutil.ignore_patterns("model.pt")
        shutil.copytree(inputs.repository / model, inputs.bfloat16 / model, ignore=built)
    recipe = SHIPPED["sts"]
    build(recipe, ModelSet(inputs.bfloat16, recipe.task.spec, recipe.name), Precision.BFLOAT16)


def multilingual_embeddings(sentences: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the bundled multilingual encoder's embeddings with its prompt, float32 ``[sentences, dim]`` of norm 1."""
    from sentence_transformers import SentenceTransformer
    from trident_training.checkpoints.bundled import location
    from trident_training.checkpoints.loading import quiet

    with quiet():
        plain = SentenceTransformer(location("multilingual"), device="cpu")
    return np.asarray(plain.encode(list(sentences), prompt=PROMPT, normalize_embeddings=True), dtype=np.float32)
