"""Trains a checkpoint to find what is wrong in a sentence, before it is fine-tuned on people's judgements.

The sentence head and a head over words are trained together; the second is dropped afterwards. Finding the replaced
word as a training signal: Clark et al., ELECTRA (2020); intermediate training: Phang et al., STILTs (2018).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput

from trident_training.checkpoints.loading import Dropout, load_classifier, load_tokenizer
from trident_training.classification.data import LabelledData
from trident_training.classification.training import collapsed_of, metrics_of, tokenize
from trident_training.finetune.model import WrappedModel
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.tasks.cola.intermediate.examples import make_examples, read_sentences
from trident_training.tasks.cola.task import TASK

#: The label of what is not a word's first token.
IGNORED = -100


class WordMarking(WrappedModel):
    """A sequence classifier with a second head, not saved, that marks the words that show what is wrong."""

    def __init__(self, classifier: PreTrainedModel) -> None:
        super().__init__(classifier)
        self.words = nn.Linear(classifier.config.hidden_size, 1)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, marks: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Return the sum of both heads' losses and the sentence logits ``[n, 2]``.

        Args:
            input_ids: int64 ``[n, L]``.
            attention_mask: int64 ``[n, L]``.
            labels: int64 ``[n]``.
            marks: int64 ``[n, L]``, 1 where the word is wrong, -100 where there is none; None for no word loss.
        """
        output = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, labels=labels, output_hidden_states=True
        )
        loss = output.loss
        if marks is not None:
            kept = marks != IGNORED
            logits = self.words(output.hidden_states[-1]).squeeze(-1).float()[kept]
            loss = loss + nn.functional.binary_cross_entropy_with_logits(logits, marks[kept].float())
        return SequenceClassifierOutput(loss=loss, logits=output.logits)


def prepare(data: LabelledData, texts: Sequence[Path], examples: int, settings: Settings) -> Prepared:
    """Make the examples and load the model.

    Args:
        data: the task's; its train set's acceptable sentences are broken, and its validation set is scored on.
        texts: files of ordinary text.
        examples: how many to make.
        settings: completed ones.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: a text cannot be read.
    """
    sentences = [sentence for text in texts for sentence in read_sentences(text)]
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    model = load_classifier(
        settings.model, TASK.labels, settings.max_length, dropout=Dropout(settings.dropout, settings.attention_dropout)
    )
    train = data.splits["train"]
    acceptable = [text for text, label in zip(train["sentence"], train["label"], strict=True) if label]

    def encoded() -> Iterator[dict[str, object]]:
        for example in make_examples(acceptable, sentences, examples, settings.seed):
            row = tokenizer(
                list(example.words), is_split_into_words=True, truncation=True, max_length=settings.max_length
            )
            marks = [IGNORED if word is None else example.marks[word] for word in row.word_ids()]
            yield {
                "input_ids": row["input_ids"],
                "attention_mask": row["attention_mask"],
                "labels": example.label,
                "marks": marks,
                "length": len(marks),
            }

    facts = {
        "train_data": data.digest("train"),
        "validation_data": data.digest("validation"),
        "texts": [hashlib.sha256(text.read_bytes()).hexdigest() for text in texts],
        "examples": examples,
        "rules": _rules_digest(),
    }
    return Prepared(
        model=WordMarking(model),
        tokenizer=tokenizer,
        train=Dataset.from_list(list(encoded())),
        validation=tokenize(data.splits["validation"], tokenizer, settings.max_length),
        collator=Collator(tokenizer),
        compute_metrics=metrics_of(TASK),
        primary=TASK.primary,
        collapsed=collapsed_of(TASK),
        facts=facts,
    )


class Collator:
    """Pads a batch's token ids, and its word labels where it has them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._padding = tokenizer.pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return int64 tensors ``[n, longest]``, and labels ``[n]``."""
        batch = {
            "input_ids": _rectangle(rows, "input_ids", self._padding),
            "attention_mask": _rectangle(rows, "attention_mask", 0),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }
        if "marks" in rows[0]:
            batch["marks"] = _rectangle(rows, "marks", IGNORED)
        return batch


def _rectangle(rows: Sequence[dict[str, Any]], name: str, padding: int) -> Tensor:
    columns = [torch.tensor(row[name]) for row in rows]
    return nn.utils.rnn.pad_sequence(columns, batch_first=True, padding_value=padding)


def _rules_digest() -> str:
    total = hashlib.sha256()
    files = (file for file in resources.files(__package__).iterdir() if file.name.endswith((".py", ".txt")))
    for file in sorted(files, key=lambda each: each.name):
        total.update(file.read_bytes())
    return total.hexdigest()
