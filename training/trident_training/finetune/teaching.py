"""Soft labels for a span reader: what another reader would answer, beside the answer that the data has.

Sources: Hinton et al., Distilling the Knowledge in a Neural Network (2015); Furlanello et al., Born-Again Neural
Networks (2018), for a teacher that is no larger; Clark and Gardner, Simple and Effective Multi-Paragraph Reading
Comprehension (2018), section 2.2, for answers whose text stands more than once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from trident_training.checkpoints import load_question_answerer, load_tokenizer
from trident_training.export.precision import Precision, resolve

#: Share of the labels that is the teacher's, and what its logits are divided by: it has learned them by heart.
SHARE, TEMPERATURE = 0.5, 1.5


class Teacher:
    """Makes a batch of windows, with the teacher's answers among its labels.

    Args:
        checkpoint: path or hub name of a fine-tuned reader with the student's tokenizer.
        tokenizer: the student's.
        max_length: tokens in a window.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
        ValueError: it has another vocabulary than the student, or takes other inputs, such as token types.
    """

    def __init__(self, checkpoint: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        own = load_tokenizer(checkpoint)
        if own.get_vocab() != tokenizer.get_vocab():
            raise ValueError(f"{checkpoint} has another vocabulary than the model; a teacher with the same is accepted")
        if own.model_input_names != tokenizer.model_input_names:
            raise ValueError(
                f"{checkpoint} takes {', '.join(own.model_input_names)}; a teacher that takes the same as the model, "
                f"{', '.join(tokenizer.model_input_names)}, is accepted"
            )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        model = load_question_answerer(checkpoint, max_length, fine_tuned=True).eval()
        self._model = model.to(self._device, getattr(torch, resolve(Precision.AUTO)))
        self._tokenizer = tokenizer
        self._max_length = max_length

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Pad the rows to one length and give them labels.

        Args:
            rows: windows; ``labels`` are the spans that may be meant, int ``[spans, 2]``, first and last token.

        Returns:
            What the model takes, and ``labels``: how likely each token is the answer's first, and its last; float32
            ``[windows, max_length, 2]``.
        """
        names = [name for name in self._tokenizer.model_input_names if name in rows[0]]
        batch = self._tokenizer.pad(
            [{name: row[name] for name in names} for row in rows], pad_to_multiple_of=8, return_tensors="pt"
        )
        with torch.inference_mode():
            logits = _stacked(self._model(**batch.to(self._device)))
        padding = (batch["attention_mask"] == 0)[..., None]
        guesses = (logits / TEMPERATURE).masked_fill(padding, -torch.inf).log_softmax(1).cpu()
        meant = torch.stack([_meant(row["labels"], guess) for row, guess in zip(rows, guesses, strict=True)])
        labels = SHARE * guesses.exp() + (1 - SHARE) * meant
        # All batches' labels of one length: a window counts the same in each of them.
        labels = nn.functional.pad(labels, (0, 0, 0, self._max_length - labels.shape[1]))
        return {**batch.to("cpu"), "labels": labels}


def _stacked(outputs: Mapping[str, Tensor]) -> Tensor:
    """Return a reader's logits, float32 ``[windows, tokens, 2]``."""
    return torch.stack([outputs["start_logits"], outputs["end_logits"]], -1).float()


def _meant(spans: Sequence[Sequence[int]], guesses: Tensor) -> Tensor:
    """Return one window's own labels: where several spans may be meant, each counts as likely as the teacher has it.

    Args:
        spans: first and last tokens ``[spans, 2]``.
        guesses: the teacher's log probabilities ``[tokens, 2]``.
    """
    firsts, lasts = torch.tensor(spans).T
    chances = (guesses[firsts, 0] + guesses[lasts, 1]).softmax(0)
    labels = torch.zeros_like(guesses)
    labels[:, 0].index_add_(0, firsts, chances)
    labels[:, 1].index_add_(0, lasts, chances)
    return labels


def loss(outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return the cross entropy of soft labels, the mean of firsts and lasts.

    Args:
        outputs: ``start_logits`` and ``end_logits`` ``[windows, tokens]``.
        labels: probabilities ``[windows, at least tokens, 2]``; 0 for those that the window has not.
        num_items_in_batch: numbers in the labels of all passes of the step, as ``Trainer`` counts them.
    """
    share = 1.0 if num_items_in_batch is None else labels.numel() / num_items_in_batch
    likely = nn.functional.log_softmax(_stacked(outputs), 1)
    tokens = min(likely.shape[1], labels.shape[1])
    return -(labels[:, :tokens] * likely[:, :tokens]).sum(1).mean() * share
