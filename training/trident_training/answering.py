"""Answers questions with a checkpoint or a running server, and scores both by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trident_training.calibration import PENALTIES, Calibration, calibration_error, fit_temperature
from trident_training.checkpoints.loading import load_question_answerer, load_tokenizer
from trident_training.finetune.question_answering import best_texts, cut, decode, score
from trident_training.metrics.question_answering import EditScore, KorquadScore, SquadScore
from trident_training.spans import Span

BATCH = 32
SCORES = {"squad": SquadScore, "korquad": KorquadScore}

#: A question with ``question``, ``context`` and ``answers``.
Question = Mapping[str, Any]
#: Gives each question's best answer and its score.
Answerer = Callable[[Sequence[Question]], list[tuple[str, float]]]


def evaluate_answers(answerer: Answerer, questions: Sequence[Question], metric: str) -> dict[str, float]:
    """Return exact match and F1 in percent, the edit distance, and how far the scores are from being right.

    Args:
        answerer: what is scored.
        questions: with the answers that are accepted.
        metric: ``squad`` or ``korquad``, whose normalisation and F1 are used.
    """
    found = answerer(questions)
    predictions = [text for text, _ in found]
    references = [question["answers"]["text"] for question in questions]
    result: dict[str, float] = {}
    for each in (SCORES[metric](), EditScore()):
        result |= each.compute(predictions=predictions, references=references)
    result["calibration_error"] = calibration_error([score for _, score in found], right(predictions, questions))
    return result


def right(predictions: Sequence[str], questions: Sequence[Question]) -> list[bool]:
    """Return which predictions match an accepted answer exactly, after SQuAD's normalisation."""
    return [
        SquadScore.normalize(prediction) in {SquadScore.normalize(each) for each in question["answers"]["text"] or [""]}
        for prediction, question in zip(predictions, questions, strict=True)
    ]


def server_answerer(url: str, protocol: str, model: str) -> Answerer:
    """Return the answerer that a running server is; errors are the client's."""
    from trident_client import TridentClient

    def answer(questions: Sequence[Question]) -> list[tuple[str, float]]:
        pairs = [(question["question"], question["context"]) for question in questions]
        with TridentClient(url, protocol=protocol, concurrency=16) as client:
            return [(spans[0].answer, spans[0].score) for spans in client.answer_many(pairs, model=model)]

    return answer


def checkpoint_answerer(
    checkpoint: str, calibration: Calibration, max_length: int, doc_stride: int, **options: Any
) -> Answerer:
    """Return the answerer that a checkpoint is, in float32.

    Args:
        checkpoint: path or hub name of a fine-tuned reader.
        calibration: what makes its scores probabilities.
        max_length: tokens in a window.
        doc_stride: tokens that neighbouring windows share.
        options: how answers are cleaned up: ``strip`` and ``longest_answer`` of
            :func:`trident_training.spans.find_spans`.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
    """
    reader = CheckpointReader(checkpoint, max_length, doc_stride)

    def answer(questions: Sequence[Question]) -> list[tuple[str, float]]:
        spans = reader.read(questions)(calibration, **options)
        texts = best_texts(questions, spans)
        return [(text, found[0].score if found else 0.0) for text, found in zip(texts, spans, strict=True)]

    return answer


class CheckpointReader:
    """A checkpoint with its tokenizer, and how it cuts contexts into windows.

    Attributes:
        model: as loaded.
        tokenizer: the same.
    """

    def __init__(self, checkpoint: str, max_length: int, doc_stride: int) -> None:
        self.model = load_question_answerer(checkpoint, max_length, fine_tuned=True).eval()
        self.tokenizer = load_tokenizer(checkpoint)
        self._max_length, self._doc_stride = max_length, doc_stride

    def read(self, questions: Sequence[Question]) -> Callable[..., list[list[Span]]]:
        """Read every question's windows once; the result decodes them under any calibration."""
        windows, passages = cut(questions, self.tokenizer, self._max_length, self._doc_stride)
        start, end = _logits(self.model, self.tokenizer, windows)

        def spans(calibration: Calibration, **options: Any) -> list[list[Span]]:
            return decode(questions, passages, start, end, **asdict(calibration), **options)

        return spans


def calibrate(
    spans: Callable[..., list[list[Span]]], questions: Sequence[Question], may_be_unanswerable: bool
) -> tuple[Calibration, dict[str, float]]:
    """Find the calibration with which the answers to questions are best, and their scores right.

    Args:
        spans: what :meth:`CheckpointReader.read` returned for the questions.
        questions: with the answers that are accepted.
        may_be_unanswerable: whether the reader was trained with questions that have no answer.

    Returns:
        The calibration, and SQuAD's exact match and F1 with it, in percent, whose sum is the highest.
    """
    tried = {}
    for length_penalty in PENALTIES:
        plain = Calibration(length_penalty=length_penalty, may_be_unanswerable=may_be_unanswerable)
        texts = best_texts(questions, spans(plain))
        tried[plain] = (texts, score(texts, questions))
    # Of equal ones the first, which has the least penalty.
    chosen = max(tried, key=lambda each: sum(tried[each][1].values()))
    texts, scores = tried[chosen]

    def chances(temperature: float) -> list[float]:
        return [found[0].score if found else 0.0 for found in spans(replace(chosen, temperature=temperature))]

    # Which answer is the best, no temperature changes.
    temperature = round(fit_temperature(chances, right(texts, questions)), 3)
    return replace(chosen, temperature=temperature), scores


def _logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, windows: Dataset
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return start and end logits of each window's tokens."""
    names = [name for name in tokenizer.model_input_names if name in windows.column_names]
    inputs = windows.select_columns(names)
    lengths = list(windows["length"]) if len(windows) else []
    order = sorted(range(len(windows)), key=lambda row: lengths[row])
    result: tuple[list[np.ndarray], list[np.ndarray]] = ([np.empty(0)] * len(windows), [np.empty(0)] * len(windows))
    with torch.inference_mode():
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            batch = tokenizer.pad(inputs[rows], return_tensors="pt").to(model.device)
            output = model(**batch)
            for place, row in enumerate(rows):
                result[0][row] = output.start_logits[place, : lengths[row]].cpu().numpy()
                result[1][row] = output.end_logits[place, : lengths[row]].cpu().numpy()
    return result
