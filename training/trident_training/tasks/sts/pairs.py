"""Models that compare two sentences, in four kinds, and the folders they are kept in.

Only the first kind is served: it embeds each sentence alone, so that embeddings can be kept and compared en masse.
The others read both sentences together, and are there to be compared with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForNextSentencePrediction,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from trident_training.checkpoints.bundled import location
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import OWN_DROPOUT, Dropout, load_config, load_model
from trident_training.checkpoints.pooling import Pooling, pooling_of
from trident_training.finetune.model import TrainedModel, WrappedModel
from trident_training.finetune.processes import gathered
from trident_training.tasks.sts.choices import Kind

HEAD = "head.safetensors"
#: As sentence-transformers of any release names the parts of a bi-encoder.
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


class BiEncoder(WrappedModel):
    """Two sentences to the cosine of their embeddings."""

    def __init__(self, encoder: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__(encoder)
        self.pooling = pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return ``logits``, the cosines ``[n]``.

        Args:
            input_ids: int64 ``[2 n, L]``, all first sentences and then all second ones.
            attention_mask: the same shape, 0 where padded.
        """
        first, second = self.embed(input_ids, attention_mask).chunk(2)
        return {"logits": nn.functional.cosine_similarity(first, second)}

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return embeddings, float32 ``[sentences, hidden]``, of any length."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.pooling.of_padded(hidden.float(), attention_mask)

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder, and its pooling as sentence-transformers reads it too."""
        super().save_pretrained(folder)
        (folder / "modules.json").write_text(json.dumps(MODULES, indent=2) + "\n")
        self.pooling.write(folder, self.config.hidden_size)


class TwoLayers(WrappedModel):
    """Two sentences in one sequence to a score by two linear layers."""

    def __init__(self, encoder: PreTrainedModel, dropout: float | None = None) -> None:
        super().__init__(encoder)
        width = encoder.config.hidden_size
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.1 if dropout is None else dropout), nn.Linear(width, 1)
        )

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return ``logits`` ``[n, 1]``."""
        further = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **further).last_hidden_state
        return {"logits": self.head(hidden[:, 0])}

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder, and the head beside it."""
        super().save_pretrained(folder)
        save_file(self.head.state_dict(), folder / HEAD)


def load_bi_encoder(
    name: str, max_length: int, *, pooling: Pooling | None = None, dropout: Dropout = OWN_DROPOUT
) -> BiEncoder:
    """Return a checkpoint as a bi-encoder; arguments and errors are :func:`load_pair_model`'s."""
    encoder = load_model(AutoModel, name, load_config(name), max_length, dropout)
    return BiEncoder(encoder, pooling or pooling_of(location(name)))


def load_pair_model(
    name: str,
    kind: Kind,
    max_length: int,
    *,
    pooling: Pooling | None = None,
    dropout: Dropout = OWN_DROPOUT,
    fine_tuned: bool = False,
) -> TrainedModel:
    """Return a checkpoint as a model of a kind, in float32.

    Args:
        name: path, hub name, or ``bundled`` with an optional depth.
        kind: what to make of it.
        max_length: tokens it must take.
        pooling: of a bi-encoder; the checkpoint's own, or the mean, when None.
        dropout: in training.
        fine_tuned: whether its head must be there; one that is lacking is drawn at random otherwise.

    Raises:
        CheckpointError: nothing can be loaded under this name, or it takes fewer tokens, or has no such head.
    """
    if kind is Kind.BI_ENCODER:
        return load_bi_encoder(name, max_length, pooling=pooling, dropout=dropout)
    config = load_config(name)
    if kind is Kind.TWO_LAYERS:
        model = TwoLayers(load_model(AutoModel, name, config, max_length, dropout), dropout.hidden)
        file = Path(name) / HEAD
        if file.is_file():
            model.head.load_state_dict(load_file(file))
        elif fine_tuned:
            raise CheckpointError(f"{name} is not fine-tuned: it has no {HEAD}")
        return model
    if kind is Kind.NEXT_SENTENCE:
        if config.model_type != "bert":
            raise CheckpointError(f"{name} is of the type {config.model_type}; only BERT judges the next sentence")
        return load_model(AutoModelForNextSentencePrediction, name, config, max_length, dropout, fine_tuned)
    config.num_labels, config.problem_type = 1, "regression"
    return load_model(AutoModelForSequenceClassification, name, config, max_length, dropout, fine_tuned)


def similarities(kind: Kind, logits: Tensor) -> Tensor:
    """Return similarities ``[n]``, about 0 to 1 and the greater the more similar, of what a model of a kind answers."""
    if kind is Kind.NEXT_SENTENCE:
        return logits.softmax(1)[:, 0]
    return logits.reshape(-1)


def loss_function(kind: Kind, loss: str) -> Callable[..., Tensor]:
    """Return the loss of a kind, called as ``Trainer`` calls its ``compute_loss_func``.

    Args:
        kind: what is trained.
        loss: ``mse`` (of the similarity; of the logarithm of both answers for next-sentence) or, for a bi-encoder,
            ``cosent``.
    """

    def mean(logits: Tensor, labels: Tensor) -> Tensor:
        if kind is Kind.NEXT_SENTENCE:
            return nn.functional.cross_entropy(logits.float(), torch.stack([labels, 1 - labels], dim=1))
        if loss == "cosent":
            return cosent(similarities(kind, logits), labels)
        if not len(labels):
            # Of none it is 0, and not the mean of nothing.
            return logits.sum()
        return nn.functional.mse_loss(similarities(kind, logits).float(), labels)

    def compute(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        # Of several passes that make one step, each counts by its pairs.
        share = 1.0 if num_items_in_batch is None else len(labels) / num_items_in_batch
        return mean(outputs["logits"], labels) * share

    return compute


def cosent(scores: Tensor, labels: Tensor) -> Tensor:
    """Return CoSENT's loss of cosines ``[n]`` by gold similarities ``[n]``: it asks for the right order alone.

    In training, it is that of the pairs of all processes.

    Source: Su, CoSENT (2022), as sentence-transformers has it.
    """
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss

    if torch.is_grad_enabled():
        scores, labels = gathered(scores), gathered(labels)
    # The cosines are there already: they pass for the embeddings, and their similarity for themselves.
    rule = CoSENTLoss(None, similarity_fct=lambda found, _: found)  # type: ignore[arg-type]
    return rule.compute_loss_from_embeddings([scores.float(), scores.float()], labels)
