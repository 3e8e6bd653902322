"""The span decoder, against every span of small passages scored one by one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trident_training.tasks.qa.spans import Span, Window, find_spans

CONTEXT = "The quick brown fox jumps."
WORDS = [(0, 3), (4, 9), (10, 15), (16, 19), (20, 25), (25, 26)]
OFFSETS = np.array(WORDS)


def window(start, end, first=0, null=0.0):
    return Window(np.array(start, np.float32), np.array(end, np.float32), first, null)


def logits(number, seed):
    generator = np.random.default_rng(seed)
    return generator.normal(size=number).astype(np.float32), generator.normal(size=number).astype(np.float32)


def by_hand(windows, tokens, most):
    """Score every legal span the slow way: the better of its scores in the windows that hold it."""
    scores = {}
    for each in windows:
        for i, j in itertools.product(range(len(each.start)), repeat=2):
            if i <= j < i + most:
                span = (each.first + i, each.first + j)
                scores[span] = max(scores.get(span, -math.inf), float(each.start[i]) + float(each.end[j]))
    assert all(j < tokens for _, j in scores)
    return scores


def test_the_answer_is_the_likeliest_span_and_its_score_a_probability():
    (span,) = find_spans(CONTEXT, OFFSETS, [window([0, 5, 0, 0, 0, 0], [0, 0, 4, 0, 0, 0])])
    assert CONTEXT[span.start : span.end] == "quick brown"
    total = sum(math.exp(score) for score in by_hand([window([0, 5, 0, 0, 0, 0], [0, 0, 4, 0, 0, 0])], 6, 30).values())
    assert span.score == pytest.approx(math.exp(9) / total)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 4), st.floats(0.3, 3), st.floats(0, 2))
@settings(max_examples=60)
def test_every_legal_span_of_all_windows_competes_once(seed, most, stride, temperature, penalty):
    windows = []
    for first in range(0, 4, stride):
        count = min(3, 6 - first)
        windows.append(window(*logits(count, seed + first), first))
    windows.append(window(*logits(2, seed + 99), 4))
    expected = {(i, j): score - penalty * (j - i) for (i, j), score in by_hand(windows, 6, most).items()}
    total = sum(math.exp(score / temperature) for score in expected.values())
    (best,) = find_spans(
        CONTEXT, OFFSETS, windows, max_answer_tokens=most, temperature=temperature, length_penalty=penalty
    )
    first, last = max(expected, key=expected.get)
    assert (best.start, best.end) == (WORDS[first][0], WORDS[last][1])
    assert best.score == pytest.approx(math.exp(expected[first, last] / temperature) / total, rel=1e-5)


def test_of_two_answers_near_each_other_a_length_penalty_keeps_one_from_swallowing_the_other():
    near = [window([5, 0, 0, 4.9, 0, 0], [4.9, 0, 0, 5, 0, 0])]
    (swallowed,), (one,) = (find_spans(CONTEXT, OFFSETS, near, length_penalty=each) for each in (0, 0.2))
    assert (swallowed.start, swallowed.end) == (WORDS[0][0], WORDS[3][1])
    assert (one.start, one.end) == WORDS[0]


def test_further_answers_do_not_overlap_better_ones_and_scores_sum_to_one_at_most():
    spans = find_spans(CONTEXT, OFFSETS, [window(*logits(6, 5))], top_k=10)
    assert [span.score for span in spans] == sorted((span.score for span in spans), reverse=True)
    assert sum(span.score for span in spans) <= 1 + 1e-9
    for one, other in itertools.combinations(spans, 2):
        assert one.end <= other.start or other.end <= one.start
    assert len(spans) > 1
    assert find_spans(CONTEXT, OFFSETS, [window(*logits(6, 5))], top_k=2) == spans[:2]


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=60)
def test_as_many_answers_are_given_as_the_passage_has(seed, most, top_k):
    offsets = np.stack([np.arange(40) * 5, np.arange(40) * 5 + 4], axis=1)
    windows = [window(*logits(16, seed + first), first) for first in range(0, 25, 8)]
    scores = by_hand(windows, 40, most)
    expected = []
    for first, last in sorted(scores, key=scores.get, reverse=True):
        if len(expected) < top_k and all(last < other[0] or other[1] < first for other in expected):
            expected.append((first, last))
    best = scores[expected[0]]
    expected = [span for span in expected if scores[span] >= best + math.log(0.01)]
    found = find_spans("word " * 40, offsets, windows, top_k=top_k, max_answer_tokens=most)
    assert [span[:2] for span in found] == [(first * 5, last * 5 + 4) for first, last in expected]


def test_an_answer_that_is_hardly_one_ends_the_list():
    sure = window([9, 0, 4.5, 0, 0, 0], [9, 0, 4.5, 0, 0, 0])
    assert [span[:2] for span in find_spans(CONTEXT, OFFSETS, [sure], top_k=5, max_answer_tokens=1)] == [(0, 3)]
    less = window([6, 0, 4.5, 0, 0, 0], [6, 0, 4.5, 0, 0, 0])
    found = find_spans(CONTEXT, OFFSETS, [less], top_k=5, max_answer_tokens=1)
    assert [span[:2] for span in found] == [(0, 3), (10, 15)]


@pytest.mark.parametrize(
    ("context", "offsets", "expected"),
    [
        # The mark is no part of the token, as of a tokenizer that strips accents.
        ("Jose\u0301 came", [(0, 4), (6, 10)], "Jose\u0301"),
        # "서울에서" in decomposed Hangul: what composes it gives the syllable's first letter alone.
        (
            "\u1109\u1165\u110b\u116e\u11af\u110b\u1166\u1109\u1165",
            [(0, 3), (5, 8)],
            "\u1109\u1165\u110b\u116e\u11af",
        ),
        # Its answer would begin at a vowel.
        ("\u1109\u1165\u110b\u116e\u11af.", [(1, 5), (5, 6)], "\u1109\u1165\u110b\u116e\u11af"),
        ("👩\u200d👧 came", [(0, 1), (1, 3), (4, 8)], "👩\u200d👧"),
        ("서울에서", [(0, 2), (2, 4)], "서울"),
        (" \u0903 came", [(1, 2), (3, 7)], "\u0903"),
    ],
)
def test_an_answer_neither_begins_nor_ends_inside_a_letter(context, offsets, expected):
    scores = [9] + [0] * (len(offsets) - 1)
    first, *rest = find_spans(context, np.array(offsets), [window(scores, scores)], top_k=5, max_answer_tokens=1)
    assert context[first.start : first.end] == expected
    assert all(span.start >= first.end for span in rest)


def test_an_answer_over_a_window_border_is_found_in_the_window_that_holds_it():
    left, right = window([0, 0, 9, 0], [0, 0, 0, 0]), window([9, 0, 0, 0], [0, 9, 0, 0], first=2)
    (span,) = find_spans(CONTEXT, OFFSETS, [left, right])
    assert CONTEXT[span.start : span.end] == "brown fox"
    # No window holds "The ... fox": nothing is put together from two readings.
    apart = [window([9, 0], [0, 0]), window([0, 0], [0, 9], first=2)]
    assert {(span.start, span.end) for span in find_spans(CONTEXT, OFFSETS, apart, top_k=9)}.isdisjoint({(0, 19)})


def test_the_longest_answer_is_bounded():
    whole = window([9, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9])
    assert find_spans(CONTEXT, OFFSETS, [whole])[0][:2] == (0, 26)
    assert find_spans(CONTEXT, OFFSETS, [whole], max_answer_tokens=5)[0].end - 0 < 26


def test_no_answer_competes_where_the_reader_was_trained_with_it():
    unsure = window([0] * 6, [0] * 6, null=8.0)
    assert find_spans(CONTEXT, OFFSETS, [unsure], may_be_unanswerable=True) == [Span(0, 0, pytest.approx(1, abs=0.01))]
    # One window that holds the answer is enough: the passage is as answerable as its most answerable window.
    sure = window([9, 0], [9, 0], first=4, null=-8.0)
    assert find_spans(CONTEXT, OFFSETS, [unsure, sure], may_be_unanswerable=True)[0][:2] == (20, 25)
    assert find_spans(CONTEXT, OFFSETS, [unsure])[0].end > 0


def test_no_answer_is_given_first_or_not_at_all():
    def ask(null, **options):
        asked = [window([4, 0, 3, 0, 0, 0], [4, 0, 3, 0, 0, 0], null=null)]
        return find_spans(CONTEXT, OFFSETS, asked, top_k=3, max_answer_tokens=1, may_be_unanswerable=True, **options)

    declined = ask(9.0)
    assert [span[:2] for span in declined] == [(0, 0), (0, 3), (10, 15)]
    answered = ask(7.0)
    assert [span[:2] for span in answered] == [(0, 3), (10, 15)]
    # A probability that it has none is still taken off the others'.
    assert ask(-9.0)[0].score > answered[0].score
    assert ask(9.0, no_answer_threshold=1.5)[0][:2] == (0, 3)
    assert ask(7.0, no_answer_threshold=-1.5)[0][:2] == (0, 0)


@pytest.mark.parametrize("context", ["", "   "])
def test_a_passage_without_tokens_has_no_answer(context):
    assert find_spans(context, np.zeros((0, 2), int), []) == []
    assert find_spans(context, np.zeros((0, 2), int), [window([], [])]) == []


def test_tokens_without_characters_and_spaces_around_a_word_are_no_part_of_an_answer():
    offsets = np.array([(0, 0), (0, 3), (3, 9)])
    (span,) = find_spans("The quick", offsets, [window([9, 0, 5], [9, 0, 5])])
    assert (span.start, span.end) == (4, 9)


def test_a_hundred_windows_are_decoded_in_little_memory():
    tokens = 20_000
    offsets = np.stack([np.arange(tokens) * 5, np.arange(tokens) * 5 + 4], axis=1)
    windows = [window(*logits(256, first), first) for first in range(0, tokens - 255, 192)]
    windows[-1].start[100] = windows[-1].end[101] = 40
    (span,) = find_spans("word " * tokens, offsets, windows)
    assert span.start == (windows[-1].first + 100) * 5
    assert span.score > 0.99


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 40), st.booleans())
@settings(max_examples=60)
def test_a_long_passage_is_scored_in_parts_with_the_same_answers(seed, most, scores_at_a_time, may_be_unanswerable):
    tokens = 40
    offsets = np.stack([np.arange(tokens) * 5, np.arange(tokens) * 5 + 4], axis=1)
    windows = [window(*logits(10, seed + first), first, null=1.0) for first in range(0, tokens - 9, 6)]
    options = {"top_k": 3, "max_answer_tokens": most, "may_be_unanswerable": may_be_unanswerable}
    whole = find_spans("word " * tokens, offsets, windows, **options)
    limits = find_spans.__globals__
    before, limits["MOST_SCORES"] = limits["MOST_SCORES"], scores_at_a_time
    try:
        parts = find_spans("word " * tokens, offsets, windows, **options)
    finally:
        limits["MOST_SCORES"] = before
    assert [span[:2] for span in parts] == [span[:2] for span in whole]
    assert [span.score for span in parts] == pytest.approx([span.score for span in whole])


def test_answers_are_cleaned_up_and_keep_their_offsets():
    context = "[SEP] quick [SEP] brown"
    offsets = np.array([(0, 5), (6, 11), (12, 17), (18, 23)])
    logits = window([9, 0, 0, 0], [0, 0, 9, 0])
    assert find_spans(context, offsets, [logits])[0][:2] == (0, 17)
    (span,) = find_spans(context, offsets, [logits], strip=["[CLS]", "[SEP]"])
    assert context[span.start : span.end] == "quick"
    (blank,) = find_spans(context, offsets, [logits], longest_answer=16)
    assert (blank.start, blank.end) == (0, 0)
    assert find_spans(context, offsets, [logits], longest_answer=17)[0][:2] == (0, 17)
