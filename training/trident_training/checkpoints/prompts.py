"""Words that a sentence encoder was trained to find in front of a text, as sentence-transformers writes them down.

Free of torch and transformers until a checkpoint is read, so that the command line costs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trident_training.checkpoints.pooling import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE = "config_sentence_transformers.json"


@dataclass(frozen=True)
class Prompts:
    """What stands in front of a text, by what the text is.

    Attributes:
        texts: by name, such as ``query`` and ``passage``.
        default: which is used where none is asked for; None for no prompt.

    Raises:
        ValueError: there is no default of that name.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None

    def __post_init__(self) -> None:
        if self.default is not None and self.default not in self.texts:
            raise ValueError(f"there is no prompt '{self.default}'; {', '.join(self.texts) or 'none'} is there")

    @property
    def text(self) -> str:
        """What stands in front of a text where no prompt is asked for."""
        return "" if self.default is None else self.texts[self.default]

    def parameters(self) -> dict[str, str]:
        """Return what a served tokenizer's configuration says of them; nothing where there are none."""
        if not self.texts:
            return {}
        return {PROMPTS: json.dumps(dict(self.texts)), DEFAULT: self.default or ""}


#: Parameters of a tokenizer's configuration.
PROMPTS, DEFAULT = "prompts", "default_prompt_name"
NO_PROMPTS = Prompts()
#: Those of bundled encoders, of which the packages have no such file. Source: Wang et al., Multilingual E5 Text
#: Embeddings (2024): symmetric tasks, as similarity is, take ``query`` on both sides.
BUNDLED = {"multilingual": Prompts({"query": "query: ", "passage": "passage: "}, "query")}


def prompts_of(checkpoint: str) -> Prompts:
    """Return the prompts that a checkpoint was trained with.

    Args:
        checkpoint: local path, hub name, or a bundled encoder's name.

    Raises:
        ValueError: what stands beside it is none of sentence-transformers' configurations.
    """
    if checkpoint in BUNDLED:
        return BUNDLED[checkpoint]
    content = read_json(checkpoint, FILE) or {}
    try:
        return Prompts(content.get("prompts") or {}, content.get("default_prompt_name"))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{FILE} of {checkpoint} is no configuration of a sentence encoder: {error}") from error


def of_parameters(parameters: Mapping[str, str]) -> Prompts:
    """Return the prompts that :meth:`Prompts.parameters` made."""
    return Prompts(json.loads(parameters.get(PROMPTS, "{}")), parameters.get(DEFAULT) or None)


def with_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> PreTrainedTokenizerBase:
    """Have a tokenizer put a prompt in front of every text, and return it."""
    if prompt:
        from tokenizers.normalizers import Normalizer, Prepend, Sequence

        backend = tokenizer.backend_tokenizer
        further: list[Normalizer] = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = Sequence([Prepend(prompt), *further])
    return tokenizer
