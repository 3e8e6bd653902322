"""Hyper-parameters by architecture, as its paper fine-tuned it on tasks of CoLA's size."""

from __future__ import annotations

from transformers import PreTrainedConfig

from trident_training.finetune.settings import Hyperparameters

# Devlin et al., BERT (2019), appendix A.3.
BERT = Hyperparameters(3e-5, 32, 0.1, 0.01, 4)
BY_ARCHITECTURE = {
    "bert": BERT,
    # Sanh et al., DistilBERT (2019), after BERT's range.
    "distilbert": Hyperparameters(5e-5, 32, 0.1, 0.01, 4),
    # Liu et al., RoBERTa (2019), table 10.
    "roberta": Hyperparameters(2e-5, 16, 0.06, 0.1, 10),
    # Lan et al., ALBERT (2020), table 14. At 5e-5, batch 64 and no warm-up it collapses to one label.
    "albert": Hyperparameters(1e-5, 16, 0.06, 0.01, 10),
    # Clark et al., ELECTRA (2020), table 7.
    "electra": Hyperparameters(1e-4, 32, 0.1, 0.01, 3),
}
#: A hidden size up to which an encoder is small, and learns at a higher rate.
SMALL = 384
# Turc et al., Well-Read Students Learn Better (2019), rates up to 3e-4.
SMALL_BERT = Hyperparameters(1e-4, 32, 0.1, 0.01, 5)


def defaults_for(config: PreTrainedConfig) -> Hyperparameters:
    """Return the defaults of a model's architecture; BERT's for one without an entry."""
    if config.model_type == "bert" and config.hidden_size <= SMALL:
        return SMALL_BERT
    return BY_ARCHITECTURE.get(config.model_type, BERT)
