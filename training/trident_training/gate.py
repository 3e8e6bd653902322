"""Keeps a served model from being replaced by one that scores worse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer

from trident_training.evaluation import BATCH, Judge, evaluate_acceptability
from trident_training.export.parity import ragged
from trident_training.metrics import MatthewsCorrelation
from trident_training.repository import ModelSet


class GateError(ValueError):
    """A model that must not replace the one that is served; the text says why and how to replace it all the same."""


def exported_judge(module: torch.jit.ScriptModule, tokenizer: str, max_tokens: int) -> Judge:
    """Return the judge that an exported classifier is, called as Triton calls it.

    Args:
        module: the entry: ragged token ids to P(acceptable).
        tokenizer: in the Rust library's JSON form.
        max_tokens: what a sentence is cut to.
    """
    encoder = Tokenizer.from_str(tokenizer)
    encoder.no_padding()
    encoder.enable_truncation(max_tokens)

    def judge(sentences: Sequence[str]) -> np.ndarray:
        encoded = [torch.tensor(each.ids) for each in encoder.encode_batch(list(sentences))]
        batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
        with torch.inference_mode():
            return torch.cat([module(*ragged(batch)) for batch in batches])[:, 0].numpy()

    return judge


def acceptability_gate(target: ModelSet, rows: Dataset | None):
    """Return a gate that lets an export replace the served model where it scores at least as well.

    Args:
        target: where the served model stands, if there is one.
        rows: what both are scored on; None where there is nothing to score on, and only an empty place is filled.
    """

    def gate(module: torch.jit.ScriptModule, tokenizer: str, max_tokens: int) -> None:
        if not target.network_file.is_file():
            return
        how = "--replace installs it all the same"
        if rows is None:
            raise GateError(f"{target.name} is served already; --data compares the two models, {how}")
        served = torch.jit.load(target.network_file)
        old = _score(exported_judge(served, target.tokenizer_file.read_text(), target.max_tokens()), rows)
        new = _score(exported_judge(module, tokenizer, max_tokens), rows)
        if new < old:
            raise GateError(
                f"{MatthewsCorrelation.primary} is {new:.4f} over {len(rows)} sentences, and the served model's is "
                f"{old:.4f}; {how}"
            )

    return gate


def _score(judge: Judge, rows: Dataset) -> float:
    return float(evaluate_acceptability(judge, rows)[MatthewsCorrelation.primary])
