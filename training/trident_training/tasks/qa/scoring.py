"""Answers questions with a checkpoint, a running server or an export, and scores each by the same rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from trident_training.checkpoints.loading import load_question_answerer, load_tokenizer
from trident_training.finetune.run import RESULT
from trident_training.tasks.base import Exported, Predictor
from trident_training.tasks.qa.calibration import (
    FILE,
    PENALTIES,
    Calibration,
    calibration_error,
    fit_temperature,
    fit_threshold,
)
from trident_training.tasks.qa.data import QuestionData
from trident_training.tasks.qa.metrics import SCORES, EditScore
from trident_training.tasks.qa.spans import Span
from trident_training.tasks.qa.training import (
    PassageWindows,
    best_texts,
    cut,
    decode,
    may_be_unanswerable,
    no_answer_margins,
    score,
)

BATCH = 32

#: A question with ``question``, ``context`` and ``answers``.
Question = Mapping[str, Any]
#: Gives each question's best answer and its score.
Answerer = Callable[[Sequence[Question]], list[tuple[str, float]]]


def evaluate_answers(answerer: Answerer, questions: Sequence[Question], metric: str) -> dict[str, float]:
    """Return exact match and F1 in percent, the edit distance, and how far the scores are from being right.

    Where there are questions without an answer, also ``refused``, how many of them are answered with none, and
    ``answered``, how many of the others are not, in percent.

    Args:
        answerer: what is scored.
        questions: with the answers that are accepted.
        metric: ``squad`` or ``korquad``, whose normalisation and F1 are used.
    """
    found = answerer(questions)
    predictions = [text for text, _ in found]
    references = [question["answers"]["text"] for question in questions]
    result = score(predictions, questions, metric)
    result |= EditScore().compute(predictions=predictions, references=references)
    chances = [chance for _, chance in found]
    result["calibration_error"] = calibration_error(chances, right(predictions, questions, metric))
    return result


def right(predictions: Sequence[str], questions: Sequence[Question], metric: str = "squad") -> list[bool]:
    """Return which predictions match an accepted answer exactly, after the metric's normalisation."""
    return [
        SCORES[metric].matches(prediction, question["answers"]["text"])
        for prediction, question in zip(predictions, questions, strict=True)
    ]


@dataclass(frozen=True)
class ReaderPredictor(Predictor):
    """A checkpoint's predictor, with the reader that it asks."""

    reader: CheckpointReader | None = None


class CheckpointReader:
    """A checkpoint with its tokenizer, and how it cuts contexts into windows.

    Args:
        checkpoint: path or hub name of a fine-tuned reader.
        max_length: tokens in a window.
        doc_stride: tokens that neighbouring windows share.

    Attributes:
        model: as loaded, in float32.
        tokenizer: the same.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
    """

    def __init__(self, checkpoint: str, max_length: int, doc_stride: int) -> None:
        self.model = load_question_answerer(checkpoint, max_length, fine_tuned=True).eval()
        self.tokenizer = load_tokenizer(checkpoint)
        self._max_length, self._doc_stride = max_length, doc_stride

    def read(self, questions: Sequence[Question]) -> Reading:
        """Read every question's windows once."""
        windows, passages = cut(questions, self.tokenizer, self._max_length, self._doc_stride)
        return Reading(questions, passages, *_logits(self.model, self.tokenizer, windows))

    def answerer(self, calibration: Calibration, **options: Any) -> Answerer:
        """Return the answerer that the checkpoint is.

        Args:
            calibration: what makes its scores probabilities.
            options: how answers are cleaned up: ``strip`` and ``longest_answer`` of
                :func:`trident_training.tasks.qa.spans.find_spans`.
        """
        return lambda questions: _best(questions, self.read(questions).spans(calibration, **options))


@dataclass(frozen=True)
class Reading:
    """What a reader made of questions: logits, which any calibration can be tried on.

    Attributes:
        questions: that were read.
        passages: their windows.
        start: logits of each window's tokens.
        end: the same.
    """

    questions: Sequence[Question]
    passages: list[PassageWindows]
    start: list[npt.NDArray[Any]]
    end: list[npt.NDArray[Any]]

    def spans(self, calibration: Calibration, **options: Any) -> list[list[Span]]:
        """Return each question's likeliest spans; options as :func:`trident_training.tasks.qa.training.decode`'s."""
        return decode(self.questions, self.passages, self.start, self.end, **asdict(calibration), **options)

    def margins(self, length_penalty: float) -> tuple[list[str], list[float]]:
        """Return what :func:`trident_training.tasks.qa.training.no_answer_margins` does."""
        return no_answer_margins(self.questions, self.passages, self.start, self.end, length_penalty)


def exported_answerer(export: Exported) -> Answerer:
    """Return the answerer that an exported reader is, called as Triton calls it, with the calibration beside it."""
    calibration = Calibration(**json.loads(export.files[FILE])) if FILE in export.files else Calibration()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(export.tokenizer),
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    doc_stride = int(export.parameters["doc_stride"])

    def answer(questions: Sequence[Question]) -> list[tuple[str, float]]:
        windows, passages = cut(questions, tokenizer, export.max_tokens, doc_stride)
        start: list[npt.NDArray[Any]] = []
        end: list[npt.NDArray[Any]] = []
        for first in range(0, len(windows), BATCH):
            batch = windows[first : first + BATCH]
            lengths = batch["length"]
            ids, types = (
                torch.tensor([token for row in batch[name] for token in row], dtype=torch.int32)
                for name in ("input_ids", "token_type_ids")
            )
            # All windows as one item's.
            tokens, count = torch.tensor([[len(ids)]]), torch.tensor([[len(lengths)]])
            with torch.inference_mode():
                found = export.module(ids, types, torch.tensor(lengths, dtype=torch.int32), tokens, tokens, count)
            for logits, kept in zip(found, (start, end), strict=True):
                kept += [part.numpy() for part in logits.split(lengths)]
        return _best(questions, decode(questions, passages, start, end, **asdict(calibration)))

    return answer


def plain_scores(predictor: Predictor, data: QuestionData) -> dict[str, float]:
    """Return exact match and F1, in percent, of a checkpoint's logits as they are, on the validation set.

    Raises:
        TypeError: the predictor is no checkpoint's.
    """
    if not isinstance(predictor, ReaderPredictor) or predictor.reader is None:
        raise TypeError("only a checkpoint's predictor has logits")
    questions = list(data.splits["validation"])
    plain = Calibration(may_be_unanswerable=may_be_unanswerable(data))
    return score(best_texts(questions, predictor.reader.read(questions).spans(plain)), questions)


def write_calibration(
    data: QuestionData, checkpoint: Path, max_length: int, doc_stride: int, metric: str = "squad"
) -> str:
    """Calibrate a finished reader on the validation set, and note it, and what it scores so, beside the weights.

    Args:
        data: what it was trained and chosen by.
        checkpoint: its folder, with its ``result.json``.
        max_length: tokens in a window.
        doc_stride: tokens that neighbouring windows share.
        metric: whose exact match and F1 are to be the best.

    Returns:
        What was found, in a sentence.
    """
    reading = CheckpointReader(str(checkpoint), max_length, doc_stride).read(list(data.splits["validation"]))
    found, scores = calibrate(reading, may_be_unanswerable(data), metric)
    (checkpoint / FILE).write_text(found.to_json())
    # What is told of the checkpoint is what it answers so.
    result = json.loads((checkpoint / RESULT).read_text())
    result["best_epoch"] |= scores
    (checkpoint / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    told = (
        f"Answers are best with a length penalty of {found.length_penalty:g}, and scores probabilities at temperature "
        f"{found.temperature:g}: F1 {scores['f1']:.1f}, exact match {scores['exact_match']:.1f}."
    )
    if "refused" in scores and "answered" in scores:
        told += (
            f" There is no answer from a threshold of {found.no_answer_threshold:g} on: of the questions without one "
            f"{scores['refused']:.1f} % are refused, and of the others {scores['answered']:.1f} % answered."
        )
    return told


def calibrate(
    reading: Reading, may_be_unanswerable: bool, metric: str = "squad"
) -> tuple[Calibration, dict[str, float]]:
    """Find the calibration with which the answers to questions are best, and their scores right.

    Args:
        reading: of the questions, with the answers that are accepted.
        may_be_unanswerable: whether the reader was trained with questions that have no answer.
        metric: ``squad`` or ``korquad``.

    Returns:
        The calibration, and exact match and F1 with it, in percent, whose sum is the highest.
    """
    questions = reading.questions
    accepted = [question["answers"]["text"] for question in questions]
    tried = {}
    for length_penalty in PENALTIES:
        threshold = 0.0
        texts, margins = reading.margins(length_penalty)
        if may_be_unanswerable:
            if not all(accepted):
                overlap = SCORES[metric].overlap
                answered = [overlap(*pair) for pair in zip(texts, accepted, strict=True)]
                threshold = round(fit_threshold(margins, answered, [float(not each) for each in accepted]), 3)
            texts = ["" if margin >= threshold else text for text, margin in zip(texts, margins, strict=True)]
        tried[Calibration(1.0, length_penalty, may_be_unanswerable, threshold)] = texts, score(texts, questions, metric)
    # Of equal ones the first, which has the least penalty.
    chosen = max(tried, key=lambda each: tried[each][1]["f1"] + tried[each][1]["exact_match"])
    texts, scores = tried[chosen]

    def chances(temperature: float) -> list[float]:
        return [found[0].score if found else 0.0 for found in reading.spans(replace(chosen, temperature=temperature))]

    # Which answer is the best, no temperature changes.
    temperature = round(fit_temperature(chances, right(texts, questions, metric)), 3)
    return replace(chosen, temperature=temperature), scores


def _best(questions: Sequence[Question], spans: Sequence[Sequence[Span]]) -> list[tuple[str, float]]:
    texts = best_texts(questions, spans)
    return [(text, found[0].score if found else 0.0) for text, found in zip(texts, spans, strict=True)]


def _logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, windows: Dataset
) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
    """Return start and end logits of each window's tokens."""
    names = [name for name in tokenizer.model_input_names if name in windows.column_names]
    inputs = windows.select_columns(names)
    lengths = list(windows["length"]) if len(windows) else []
    order = sorted(range(len(windows)), key=lambda row: lengths[row])
    result: tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]] = (
        [np.empty(0)] * len(windows),
        [np.empty(0)] * len(windows),
    )
    with torch.inference_mode():
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            batch = tokenizer.pad(inputs[rows], return_tensors="pt").to(model.device)
            output = model(**batch)
            for place, row in enumerate(rows):
                result[0][row] = output.start_logits[place, : lengths[row]].cpu().numpy()
                result[1][row] = output.end_logits[place, : lengths[row]].cpu().numpy()
    return result
