"""Prepares extractive question answering for a fine-tuning run: windows with labels, and their scores as answers."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import Dropout, load_question_answerer, load_tokenizer
from trident_training.data.problems import DataError
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.tasks.qa.data import QuestionData
from trident_training.tasks.qa.metrics import SCORES, SquadScore, refusals
from trident_training.tasks.qa.spans import Span, Window, find_spans, null_logit, rank_spans, widen

#: Tokens that a question must leave for its context, the overlap of two windows not counted.
LEAST_CONTEXT = 16
#: The mark of a space where a word begins, where it is a token of its own.
SPACE = "\u2581"
#: What the model is given of a window; not every architecture has token types.
ROW = ("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions", "length")


@dataclass(frozen=True)
class PassageWindows:
    """One question's context as the windows that the reader reads.

    Attributes:
        rows: which rows of the tokenized windows they are.
        offsets: where the context's tokens stand, start and end in characters; int ``[tokens, 2]``.
        places: for each window, its first context token's place in the row, how many it has, and which of ``offsets``
            the first one is.
        rounded: whether the answer begins or ends inside a token, so that what is learned is a little more or less.
    """

    rows: list[int]
    offsets: npt.NDArray[Any]
    places: list[tuple[int, int, int]]
    rounded: bool = False


def prepare(data: QuestionData, settings: Settings, doc_stride: int, metric: str = "squad") -> Prepared:
    """Load model and tokenizer and cut the contexts into windows.

    Args:
        data: questions to learn from and to choose by.
        settings: completed ones.
        doc_stride: tokens that neighbouring windows share.
        metric: ``squad`` or ``korquad``, whose exact match and F1 epochs are compared by.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: no question leaves room for its context.
        ValueError: windows that would not move on.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    model = load_question_answerer(
        settings.model, settings.max_length, dropout=Dropout(settings.dropout, settings.attention_dropout)
    )
    train, learned = cut(data.splits["train"], tokenizer, settings.max_length, doc_stride)
    validation, passages = cut(data.splits["validation"], tokenizer, settings.max_length, doc_stride)
    for split, rows in (("train", train), ("validation", validation)):
        if not len(rows):
            raise DataError(
                f"no question of the {split} set leaves room for its context; up to "
                f"{settings.max_length - doc_stride - LEAST_CONTEXT} tokens are accepted with max_length "
                f"{settings.max_length} and doc_stride {doc_stride}"
            )
    questions = list(data.splits["validation"])

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        start, end, *_ = tuple(prediction.predictions)
        found = decode(questions, passages, start, end, may_be_unanswerable=may_be_unanswerable(data))
        return score(best_texts(questions, found), questions, metric)

    rounded = sum(passage.rounded for passage in learned)
    return Prepared(
        model=model,
        tokenizer=tokenizer,
        train=train,
        validation=validation,
        collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_metrics=compute_metrics,
        primary=SquadScore.primary,
        collapsed=collapsed,
        facts={
            "train_data": data.digest("train"),
            "validation_data": data.digest("validation"),
            "doc_stride": doc_stride,
        }
        | ({"metric": metric} if metric != "squad" else {}),
        remark=f"{rounded} of {len(learned)} answers begin or end inside a token; the nearest border of one is learned"
        if rounded
        else None,
    )


def cut(
    questions: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, doc_stride: int
) -> tuple[Dataset, list[PassageWindows]]:
    """Cut every context into overlapping windows, each beside its question.

    The labels of a window that does not hold the whole first answer are its first token, both.

    Returns:
        The tokenized windows in the order of the questions, and for each question which they are. A question that
        leaves too little room for its context has none.

    Raises:
        ValueError: windows that would not move on.
    """
    if doc_stride > max_length - 2 * LEAST_CONTEXT:
        raise ValueError(
            f"doc_stride {doc_stride} leaves no room for a question in {max_length} tokens; "
            f"{max_length - 2 * LEAST_CONTEXT} or less is accepted"
        )
    rows: list[dict[str, Any]] = []
    passages = []
    for question in questions:
        found = _windows(question, tokenizer, max_length, doc_stride)
        passages.append(_place(found, len(rows)))
        rows += [{name: row[name] for name in ROW if name in row} for row in found]
    return Dataset.from_list(rows), passages


def _windows(
    question: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, max_length: int, doc_stride: int
) -> list[dict[str, Any]]:
    room = max_length - doc_stride - LEAST_CONTEXT
    if len(tokenizer(question["question"], add_special_tokens=False)["input_ids"]) > room:
        return []
    encoded = tokenizer(
        question["question"],
        question["context"],
        truncation="only_second",
        max_length=max_length,
        stride=doc_stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    space = tokenizer.backend_tokenizer.token_to_id(SPACE)
    windows = []
    first = 0
    for index, mapping in enumerate(encoded["offset_mapping"]):
        inside = [place for place, sequence in enumerate(encoded.sequence_ids(index)) if sequence == 1]
        # The mark of a space has the offsets of the letter behind it, which no answer ends with that ends before it.
        tokens = encoded["input_ids"][index]
        offsets = [
            (start, start if token == space else end) for (start, end), token in zip(mapping, tokens, strict=True)
        ]
        start, end, rounded = _label(question, offsets, inside)
        row = {name: encoded[name][index] for name in ROW if name in encoded}
        row |= {"start_positions": start, "end_positions": end, "length": len(offsets)}
        row |= {"first": first, "place": inside[0] if inside else 0, "offsets": [offsets[place] for place in inside]}
        row |= {"rounded": rounded}
        windows.append(row)
        first += len(inside) - doc_stride
    return windows


def _label(
    question: Mapping[str, Any], offsets: Sequence[tuple[int, int]], inside: Sequence[int]
) -> tuple[int, int, bool]:
    """Return the places of the first answer's first and last token, and whether it begins or ends inside one.

    An answer that ends inside a token, as one before a particle of Korean may, is learned up to the nearest end of a
    token, and likewise from the nearest start; of two as near, with the token that it ends inside.

    Returns:
        0, 0 and False where the window does not hold all of the answer.
    """
    context, answers = question["context"], question["answers"]
    # Some have no letter of the context.
    filled = [place for place in inside if offsets[place][0] < offsets[place][1]]
    if not answers["text"] or not filled:
        return 0, 0, False
    text = answers["text"][0]
    begins = answers["answer_start"][0] + len(text) - len(text.lstrip())
    ends = begins + len(text.strip())
    starts, stops = [offsets[place][0] for place in filled], [offsets[place][1] for place in filled]
    # A token may lack what stands on its last letter, or the end of a syllable: the decoder widens it, too.
    first = max(bisect.bisect_right(starts, begins) - 1, 0)
    last = min(bisect.bisect_left(stops, ends), len(filled) - 1)
    if begins < widen(context, starts[0], stops[0])[0] or ends > widen(context, starts[-1], stops[-1])[1]:
        return 0, 0, False

    def start_of(token: int) -> int:
        return int(widen(context, starts[token], stops[token])[0])

    def end_of(token: int) -> int:
        return int(widen(context, starts[token], stops[token])[1])

    start = min(range(first, min(first + 2, len(filled))), key=lambda token: abs(start_of(token) - begins))
    end = min(range(last, max(last - 2, -1), -1), key=lambda token: abs(end_of(token) - ends))
    if start > end:
        start, end = sorted((first, last))
    # A tokenizer may count a space to the word behind it.
    rounded = context[start_of(start) : end_of(end)].strip() != context[begins:ends]
    return filled[start], filled[end], rounded


def _place(windows: Sequence[Mapping[str, Any]], row: int) -> PassageWindows:
    offsets: list[tuple[int, int]] = []
    for window in windows:
        offsets += window["offsets"][len(offsets) - window["first"] :]
    return PassageWindows(
        rows=list(range(row, row + len(windows))),
        offsets=np.array(offsets, dtype=np.int64).reshape(-1, 2),
        places=[(window["place"], len(window["offsets"]), window["first"]) for window in windows],
        rounded=any(window["rounded"] for window in windows),
    )


def may_be_unanswerable(data: QuestionData) -> bool:
    """Return whether there are questions without an answer to learn from."""
    return any(not answers["text"] for answers in data.splits["train"]["answers"])


def windows_of(
    passages: Sequence[PassageWindows], start: Sequence[npt.NDArray[Any]], end: Sequence[npt.NDArray[Any]]
) -> list[list[Window]]:
    """Return each question's windows as the decoder takes them; arguments as in :func:`decode`."""
    return [
        [
            Window(
                start[row][place : place + count],
                end[row][place : place + count],
                first,
                float(start[row][0] + end[row][0]),
            )
            for row, (place, count, first) in zip(passage.rows, passage.places, strict=True)
        ]
        for passage in passages
    ]


def decode(
    questions: Sequence[Mapping[str, Any]],
    passages: Sequence[PassageWindows],
    start: Sequence[npt.NDArray[Any]],
    end: Sequence[npt.NDArray[Any]],
    **options: Any,
) -> list[list[Span]]:
    """Return each question's likeliest spans, the best first; none for one without windows.

    Args:
        questions: whose contexts were cut.
        passages: how they were.
        start: logits of each window's tokens, float ``[windows, at least its tokens]``.
        end: the same.
        options: :func:`trident_training.tasks.qa.spans.find_spans`'s.
    """
    windows = windows_of(passages, start, end)
    return [
        find_spans(question["context"], passage.offsets, each, **options)
        for question, passage, each in zip(questions, passages, windows, strict=True)
    ]


def no_answer_margins(
    questions: Sequence[Mapping[str, Any]],
    passages: Sequence[PassageWindows],
    start: Sequence[npt.NDArray[Any]],
    end: Sequence[npt.NDArray[Any]],
    length_penalty: float,
) -> tuple[list[str], list[float]]:
    """Return each question's best answer, and by how much the logits of there being none are more than its own.

    Args:
        questions: and the next three, as :func:`decode` takes them.
        passages: the same.
        start: the same.
        end: the same.
        length_penalty: of the calibration.

    Returns:
        Empty texts, with an infinite margin, of questions without windows.
    """
    texts, margins = [], []
    for question, passage, windows in zip(questions, passages, windows_of(passages, start, end), strict=True):
        spans, _ = rank_spans(question["context"], passage.offsets, windows, length_penalty=length_penalty)
        texts += best_texts([question], [spans])
        margins.append(null_logit(windows) - spans[0].score if spans else np.inf)
    return texts, margins


def best_texts(questions: Sequence[Mapping[str, Any]], found: Sequence[Sequence[Span]]) -> list[str]:
    """Return the text of each question's best span; an empty one where there is none."""
    return [
        question["context"][spans[0].start : spans[0].end] if spans else ""
        for question, spans in zip(questions, found, strict=True)
    ]


def score(
    predictions: Sequence[str], questions: Sequence[Mapping[str, Any]], metric: str = "squad"
) -> dict[str, float]:
    """Return F1 and exact match in percent, SQuAD's or KorQuAD's, and how well questions without an answer are told."""
    references = [question["answers"]["text"] for question in questions]
    found = SCORES[metric]().compute(predictions=list(predictions), references=references)
    return dict(found) | refusals(predictions, references)


def collapsed(scores: Mapping[str, float]) -> str | None:
    """Say that no answer shares a word with any expected one, and what to change; None when some do."""
    if scores[SquadScore.primary] > 0:
        return None
    return "the model collapsed: no answer is right in any word. Use a lower learning rate or a longer warm-up."
