"""Clean-up of text as part of a tokenizer, so that training, evaluation and serving cannot differ in it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from tokenizers import Regex
from tokenizers.normalizers import Normalizer, Replace, Sequence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Cleaning(StrEnum):
    """What is done to a text before it is cut into tokens."""

    NONE = "none"
    #: Everything but Hangul (syllables and single letters) and white space is removed.
    HANGUL = "hangul"
    #: Several spaces, tabs or line breaks in a row become one space.
    SPACES = "spaces"


RULES = {
    Cleaning.HANGUL: Replace(Regex(r"[^\p{Hangul}\s]+"), ""),
    Cleaning.SPACES: Replace(Regex(r"\s+"), " "),
}


def with_cleaning(tokenizer: PreTrainedTokenizerBase, cleaning: Cleaning) -> PreTrainedTokenizerBase:
    """Put a clean-up before everything else that the tokenizer does, and return the tokenizer.

    Raises:
        ValueError: a tokenizer without a Rust form has no place for it.
    """
    if cleaning is Cleaning.NONE:
        return tokenizer
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} has no Rust form (tokenizer.json), which clean-up is a part of")
    backend = tokenizer.backend_tokenizer
    further: list[Normalizer] = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = Sequence([RULES[cleaning], *further])
    return tokenizer
