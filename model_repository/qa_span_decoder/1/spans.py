"""Finds the likeliest answer spans of a passage from the logits of all its windows.

A passage longer than the reader takes is read in overlapping windows. All of them are laid over one another on the
passage's own tokens, so that a span seen in two windows is one span with the better of its two scores, and every legal
span of the whole passage competes: inside the context, start not after end, at most ``max_answer_tokens`` long. Its
score is its probability among all of them: softmax over start logit plus end logit (Devlin et al., BERT, 2019, section
4.2), over the passage and not the window, at a temperature that makes it a calibrated one (Guo et al., 2017).

A reader tells starts from starts and ends from ends, but not which of them belong together: of two answers near each
other it likes the start of the first with the end of the second. A prior on lengths, a factor for each further token
(a geometric distribution), speaks against that.

Offsets come from tokenizers that take letters apart, or leave out what stands on them: an answer's ends are moved
outwards to where a reader of the text would see a letter begin or end, the borders of its extended grapheme clusters
(Unicode Standard Annex 29).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

#: Tokens in the longest answer, unless asked for otherwise.
MAX_ANSWER_TOKENS = 30
#: A further answer is given while its score is at least this share of the first one's.
FLOOR = 0.01
#: Spans looked at for each that is asked for: those without a letter do not count.
CANDIDATES = 100
#: Spans that are scored at a time, so that memory does not grow with the passage.
MOST_SCORES = 1 << 22
#: Parts a text into its letters, each with the marks that stand on it.
GRAPHEMES = Split(Regex(r"\X"), behavior="isolated")
#: Characters to each side of a place in which its letter is looked for.
AROUND = 64


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
    no_answer_threshold: float = 0.0,
    strip: Sequence[str] = (),
    longest_answer: int | None = None,
) -> list[Span]:
    """Return the likeliest spans, the best first; none of them overlaps a better one.

    Args:
        context: the passage.
        offsets: where each of its tokens stands, start and end in characters; int ``[tokens, 2]``.
        windows: that together cover it.
        top_k: how many spans are wanted; fewer come where the passage has no more, or none with :data:`FLOOR` of the
            first one's score.
        max_answer_tokens: tokens in the longest.
        temperature: divides the logits; above 1 for a reader that is too sure of itself.
        length_penalty: taken off a span's logits for each of its tokens but the first.
        may_be_unanswerable: whether the null logits compete as well, as the empty span at 0. It comes first, where no
            span is better, or not at all.
        no_answer_threshold: how much more than the best span's the null logits must be for that (Rajpurkar et al.,
            Know What You Don't Know, 2018, section 5).
        strip: texts that no answer begins or ends with, such as special tokens written out.
        longest_answer: characters above which an answer is no answer: its span is left empty, where it began.

    Returns:
        At most ``top_k`` spans; none for a passage without tokens whose reader knows no null answer.
    """
    spans, total = rank_spans(
        context,
        offsets,
        windows,
        top_k=top_k,
        max_answer_tokens=max_answer_tokens,
        temperature=temperature,
        length_penalty=length_penalty,
        strip=strip,
    )
    if may_be_unanswerable and windows:
        null = (null_logit(windows) - no_answer_threshold) / temperature
        total = float(np.logaddexp(total, null))
        if not spans or null >= spans[0].score:
            spans = [Span(0, 0, null), *spans[: top_k - 1]]
    least = spans[0].score + math.log(FLOOR) if spans else 0.0
    found = [span._replace(score=math.exp(span.score - total)) for span in spans if span.score >= least]
    if longest_answer is None:
        return found
    return [span._replace(end=span.start) if span.end - span.start > longest_answer else span for span in found]


def null_logit(windows: Sequence[Window]) -> float:
    """Return the logit of a passage's having no answer: that of the window which most likely holds one."""
    return min(window.null for window in windows)


def rank_spans(
    context: str,
    offsets: np.ndarray,
    windows: Sequence[Window],
    *,
    top_k: int = 1,
    max_answer_tokens: int = MAX_ANSWER_TOKENS,
    temperature: float = 1.0,
    length_penalty: float = 0.0,
    strip: Sequence[str] = (),
) -> tuple[list[Span], float]:
    """Return the likeliest spans, the best first, by their logits, and what all spans' add up to as exponentials.

    Takes what :func:`find_spans` takes.

    Returns:
        At most ``top_k`` spans whose ``score`` is the logit, penalty and temperature in it; and the logarithm of the
        sum, -inf for a passage without tokens.
    """
    tokens = len(offsets)
    most = max(1, min(max_answer_tokens, tokens))
    penalties = length_penalty * np.arange(most)
    # Where no answer begins or ends, and how many tokens an answer may have that begins at each token.
    silent = offsets[:, 0] >= offsets[:, 1]
    reach = np.full(tokens, most)
    # Of the answers that begin at each token, the best one's logit and its further tokens.
    best, further = np.full(tokens, -np.inf), np.zeros(tokens, dtype=np.int64)

    def score(first: int, last: int) -> np.ndarray:
        scores = (_span_scores(silent, windows, most, first, last) - penalties) / temperature
        scores[np.arange(most) >= reach[first:last, None]] = -np.inf
        best[first:last], further[first:last] = scores.max(axis=1), scores.argmax(axis=1)
        return scores

    total = -np.inf
    rows = max(1, MOST_SCORES // most)
    for first in range(0, tokens, rows):
        total = np.logaddexp(total, _log_sum(score(first, min(first + rows, tokens))))
    spans: list[Span] = []
    for _ in range(top_k * CANDIDATES):
        first = int(best.argmax()) if tokens else 0
        floor = spans[0].score + math.log(FLOOR) if spans else -math.inf
        if not tokens or best[first] < floor or not np.isfinite(best[first]) or len(spans) == top_k:
            break
        last = first + int(further[first])
        start, end = _trim(context, int(offsets[first, 0]), int(offsets[last, 1]), strip)
        if start == end:
            # Spaces, or what is stripped: longer answers that begin or end with it are others' doubles.
            silent[first : last + 1] = True
            score(max(0, first - most + 1), last + 1)
            continue
        start, end = widen(context, start, end)
        spans.append(Span(start, end, float(best[first])))
        # Also tokens beside it that share a letter with it.
        while first > 0 and offsets[first - 1, 1] > start:
            first -= 1
        while last + 1 < tokens and offsets[last + 1, 0] < end:
            last += 1
        best[first : last + 1], reach[first : last + 1] = -np.inf, 0
        before = np.arange(max(0, first - most + 1), first)
        reach[before] = np.minimum(reach[before], first - before)
        crossing = before[further[before] >= reach[before]]
        if len(crossing):
            score(int(crossing[0]), int(crossing[-1]) + 1)
    return spans, float(total)


def _span_scores(silent: np.ndarray, windows: Sequence[Window], most: int, first: int, last: int) -> np.ndarray:
    """Return the score of every span that starts at the tokens from ``first`` to before ``last``.

    Returns:
        By first token and length less one: float64 ``[last - first, most]``. What is no legal span is -inf.
    """
    scores = np.full((last - first, most), -np.inf)
    for window in windows:
        behind = window.first + len(window.start)
        begin, stop = max(first, window.first), min(last, behind)
        if begin >= stop:
            continue
        held, rows = silent[window.first : behind], slice(begin - window.first, stop - window.first)
        start = np.where(held, -np.inf, window.start)[rows, None]
        end = np.append(np.where(held, -np.inf, window.end), np.full(most - 1, -np.inf))
        place = scores[begin - first : stop - first]
        np.maximum(place, start + np.lib.stride_tricks.sliding_window_view(end, most)[rows], out=place)
    return scores


def _log_sum(values: np.ndarray) -> float:
    """Return the logarithm of the sum of exponentials; -inf of nothing."""
    highest = values.max(initial=-np.inf)
    return float(highest + np.log(np.exp(values - highest).sum())) if np.isfinite(highest) else -np.inf


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


def widen(context: str, start: int, end: int) -> tuple[int, int]:
    """Move a span's ends outwards to where letters begin and end: none is left without what stands on it.

    Args:
        context: the passage.
        start: of a span that is not empty.
        end: of the same.
    """
    first = _letter(context, start)[0]
    # A mark behind a space stands on it, and an answer begins with no space.
    return start if context[first].isspace() else first, _letter(context, end)[1]


def _letter(context: str, place: int) -> tuple[int, int]:
    """Return where the letter begins and ends that a place lies inside; the place itself where that is between two."""
    if place in {0, len(context)} or (context[place - 1].isascii() and context[place].isascii()):
        return place, place
    first = max(0, place - AROUND)
    for _, (start, end) in GRAPHEMES.pre_tokenize_str(context[first : place + AROUND]):
        if start < place - first < end:
            return first + start, first + end
    return place, place
