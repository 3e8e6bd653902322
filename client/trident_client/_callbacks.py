"""What is told of items beside their answers: who is called, and the warnings that are given where nobody is."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

from trident_client.errors import BadInputError, LanguageWarning, TruncationWarning, UnknownTokensWarning

OnTruncation = Callable[[list[int]], None]
OnUnknown = Callable[[list[int]], None]
OnTokenCounts = Callable[[list[int]], None]
OnBadItem = Callable[[int, BadInputError], None]


def warn_of_truncation(truncated: list[int]) -> None:
    """Warn which items were longer than the encoder takes."""
    what = f"were longer than the encoder takes and were cut: {_first(truncated)}"
    warnings.warn(f"{len(truncated)} item(s) {what}", TruncationWarning, stacklevel=4)


def warn_of_unknown(unknown: list[int]) -> None:
    """Warn which items have tokens that the vocabulary does not know."""
    what = f"have words or symbols that the model's vocabulary cannot read, and takes for the same: {_first(unknown)}"
    warnings.warn(f"{len(unknown)} item(s) {what}", UnknownTokensWarning, stacklevel=4)


def warn_of_language(model: str, language: str, languages: Sequence[str]) -> None:
    """Warn that a text is in a language that a set of models was not made for."""
    made = f"{model} was made for {', '.join(languages)} alone"
    warnings.warn(f"{made}, and a text is in {language}: its answer means little", LanguageWarning, stacklevel=4)


def _first(indices: list[int]) -> str:
    return ", ".join(map(str, indices[:10])) + (", ..." if len(indices) > 10 else "")
