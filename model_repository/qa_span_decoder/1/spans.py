"""Finds the likeliest answer spans of a passage from the logits of all its windows.

A passage longer than the reader takes is read in overlapping windows. All of them are laid over one another on the
passage's own tokens, so that a span seen in two windows is one span with the better of its two scores, and every legal
span of the whole passage competes: inside the context, start not after end, at most ``max_answer_tokens`` long. Its
score is its probability among all of them: softmax over start logit plus end logit (Devlin et al., BERT, 2019, section
4.2), over the passage and not the window, at a temperature that makes it a calibrated one (Guo et al., 2017).

A reader tells starts from starts and ends from ends, but not which of them belong together: of two answers near each
other it likes the start of the first with the end of the second. A prior on lengths, a factor for each further token
(a geometric distribution), speaks against that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Tokens in the longest answer, unless asked for otherwise.
MAX_ANSWER_TOKENS = 30
#: Spans looked at for each that is asked for: those that overlap a better one do not count.
CANDIDATES = 100
#: Spans that are scored at a time, so that memory does not grow with the passage.
MOST_SCORES = 1 << 22


class Window(NamedTuple):
    """A reader's logits over one window.

    Attributes:
        start: logits of an answer starting at each of the window's context tokens; float32 ``[n]``.
        end: logits of its ending there; float32 ``[n]``.
        first: which of the passage's tokens the window's first context token is.
        null: logit of there being no answer in the window; used by readers trained with it.
    """

    start: np.ndarray
    end: np.ndarray
    first: int
    null: float = 0.0


class Span(NamedTuple):
    """An answer: ``context[start:end]``, in characters, and its probability. Empty where there is no answer."""

    start: int
    end: int
    score: float


def find_spans(
    context: str,
    offsets: np.ndarray,
    windows: Sequence[Window],
    *,
    top_k: int = 1,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    temperature: float = 1.0,
    length_penalty: float = 0.0,
    may_be_unanswerable: bool = False,
    strip: Sequence[str] = (),
    longest_answer: int | None = None,
) -> list[Span]:
    """Return the likeliest spans, the best first; none of them overlaps a better one.

    Args:
        context: the passage.
        offsets: where each of its tokens stands, start and end in characters; int ``[tokens, 2]``.
        windows: that together cover it.
        top_k: how many spans are wanted; fewer come where the passage has no more.
        max_answer_tokens: tokens in the longest.
        temperature: divides the logits; above 1 for a reader that is too sure of itself.
        length_penalty: taken off a span's logits for each of its tokens but the first.
        may_be_unanswerable: whether the null logits compete as well, as the empty span at 0.
        strip: texts that no answer begins or ends with, such as special tokens written out.
        longest_answer: characters above which an answer is no answer: its span is left empty, where it began.

    Returns:
        At most ``top_k`` spans; none for a passage without tokens whose reader knows no null answer.
    """
    most = max(1, min(max_answer_tokens, len(offsets)))
    null = min(window.null for window in windows) / temperature if may_be_unanswerable and windows else -np.inf
    penalties = length_penalty * np.arange(most)
    # Logarithm of what all scores so far add up to as exponentials, and the best of them with their places.
    total = null
    places, best_scores = np.empty(0, dtype=np.int64), np.empty(0)
    rows = max(1, MOST_SCORES // most)
    for first in range(0, len(offsets), rows):
        scores = _span_scores(offsets, windows, most, first, min(first + rows, len(offsets)))
        flat = ((scores - penalties) / temperature).ravel()
        total = np.logaddexp(total, _log_sum(flat))
        chosen = _best(flat, top_k * CANDIDATES)
        places = np.concatenate([places, chosen + first * most])
        best_scores = np.concatenate([best_scores, flat[chosen]])
    if total == -np.inf:
        return []
    found = [Span(0, 0, float(np.exp(null - total)))] if may_be_unanswerable else []
    for index in _best(best_scores, top_k * CANDIDATES):
        first, length = divmod(int(places[index]), most)
        start, end = _trim(context, int(offsets[first, 0]), int(offsets[first + length, 1]), strip)
        if start < end and not any(start < other.end and other.start < end for other in found):
            found.append(Span(start, end, float(np.exp(best_scores[index] - total))))
        if len(found) >= top_k + may_be_unanswerable:
            break
    best = sorted(found, key=lambda span: -span.score)[:top_k]
    if longest_answer is None:
        return best
    return [span._replace(end=span.start) if span.end - span.start > longest_answer else span for span in best]


def _span_scores(offsets: np.ndarray, windows: Sequence[Window], most: int, first: int, last: int) -> np.ndarray:
    """Return the score of every span that starts at the tokens from ``first`` to before ``last``.

    Returns:
        By first token and length less one: float64 ``[last - first, most]``. What is no legal span is -inf.
    """
    scores = np.full((last - first, most), -np.inf)
    empty = offsets[:, 0] >= offsets[:, 1]
    for window in windows:
        behind = window.first + len(window.start)
        begin = max(first, window.first)
        if begin >= min(last, behind):
            continue
        held = slice(window.first, behind)
        start = np.where(empty[held], -np.inf, window.start)[begin - window.first :]
        end = np.where(empty[held], -np.inf, window.end)[begin - window.first :]
        for length in range(min(most, len(start))):
            count = min(last - begin, len(start) - length)
            place = scores[begin - first : begin - first + count, length]
            np.maximum(place, start[:count] + end[length : length + count], out=place)
    return scores


def _log_sum(values: np.ndarray) -> float:
    """Return the logarithm of the sum of exponentials; -inf of nothing."""
    highest = values.max(initial=-np.inf)
    return float(highest + np.log(np.exp(values - highest).sum())) if np.isfinite(highest) else -np.inf


def _best(flat: np.ndarray, number: int) -> np.ndarray:
    """Return the indices of the highest finite scores, the highest first; of equal ones the first."""
    chosen = np.argpartition(-flat, number)[:number] if number < len(flat) else np.arange(len(flat))
    chosen = chosen[np.isfinite(flat[chosen])]
    return chosen[np.lexsort((chosen, -flat[chosen]))]


def _trim(context: str, start: int, end: int, strip: Sequence[str]) -> tuple[int, int]:
    """Leave out spaces that some tokenizers count to a word, and ``strip``, from both ends."""
    trimmed = None
    while trimmed != (start, end):
        trimmed = start, end
        while start < end and context[start].isspace():
            start += 1
        while start < end and context[end - 1].isspace():
            end -= 1
        for text in strip:
            if context.startswith(text, start, end):
                start += len(text)
            if context.endswith(text, start, end):
                end -= len(text)
    return start, end
