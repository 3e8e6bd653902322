"""Hyper-parameters by architecture, as its paper fine-tuned it on tasks of CoLA's size."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Defaults:
    """What an architecture is fine-tuned with unless told otherwise.

    Attributes:
        learning_rate: at the end of the warm-up.
        batch_size: sequences a step.
        warmup: share of all steps in which the rate rises, 0 to 1.
        weight_decay: AdamW's.
        epochs: passes over the train set.
        source: where the numbers are from.
    """

    learning_rate: float
    batch_size: int
    warmup: float
    weight_decay: float
    epochs: int
    source: str


BERT = Defaults(3e-5, 32, 0.1, 0.01, 4, "Devlin et al., BERT (2019), appendix A.3")
BY_ARCHITECTURE = {
    "bert": BERT,
    "distilbert": Defaults(5e-5, 32, 0.1, 0.01, 4, "Sanh et al., DistilBERT (2019), after BERT's range"),
    "roberta": Defaults(2e-5, 16, 0.06, 0.1, 10, "Liu et al., RoBERTa (2019), table 10"),
    # At 5e-5, batch 64 and no warm-up it collapses to one label.
    "albert": Defaults(1e-5, 16, 0.06, 0.01, 10, "Lan et al., ALBERT (2020), table 14"),
    "electra": Defaults(1e-4, 32, 0.1, 0.01, 3, "Clark et al., ELECTRA (2020), table 7"),
}
#: A hidden size up to which an encoder is small, and learns at a higher rate.
SMALL = 384
SMALL_BERT = Defaults(1e-4, 32, 0.1, 0.01, 5, "Turc et al., Well-Read Students Learn Better (2019), rates up to 3e-4")


def defaults_for(config: PreTrainedConfig) -> Defaults:
    """Return the defaults of a model's architecture; BERT's for one without an entry."""
    if config.model_type == "bert" and config.hidden_size <= SMALL:
        return SMALL_BERT
    return BY_ARCHITECTURE.get(config.model_type, BERT)
