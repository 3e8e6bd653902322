"""Teaches a span reader where another one, of any width and vocabulary, sees answers begin and end.

Both read the same stretches of text; a teacher's token counts for the student's token that holds its first character
where answers begin, and its last one where they end. Source: Sanh et al., DistilBERT (2019), section 3, which learns
from a teacher's distributions over a window's tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from trident_training.checkpoints.loading import load_question_answerer, load_tokenizer
from trident_training.finetune.lesson import LogitsLesson
from trident_training.finetune.model import WrappedModel
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.finetune.teaching import Teacher, soft_cross_entropy, taught
from trident_training.tasks.qa.data import QuestionData, load_rows
from trident_training.tasks.qa.training import PassageWindows, cut

#: The label of a window that has none, and the logit of a token at which no answer begins or ends.
UNLABELLED, NEVER = -100, -1e4
#: Windows of one forward pass.
BATCH = 32


# Named so that transformers takes its positions for labels.
class QuestionAnsweringStudent(WrappedModel):
    """A span reader that learns from labels and from a teacher's logits."""

    def __init__(self, reader: PreTrainedModel, lesson: LogitsLesson) -> None:
        super().__init__(reader)
        self._alpha, self._temperature = lesson.alpha, lesson.temperature

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        start_positions: Tensor,
        end_positions: Tensor,
        token_type_ids: Tensor | None = None,
        teacher: Tensor | None = None,
    ) -> QuestionAnsweringModelOutput:
        """Return loss, and start and end logits ``[n, L]``.

        Args:
            input_ids: int64 ``[n, L]``.
            attention_mask: int64 ``[n, L]``.
            start_positions: int64 ``[n]``, -100 where there is no label.
            end_positions: the same.
            token_type_ids: int64 ``[n, L]``, where the encoder has types.
            teacher: start and end logits ``[n, 2, tokens]`` by the student's tokens; None for the labels' loss alone.
        """
        further = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **further)
        logits = torch.stack([found.start_logits, found.end_logits], dim=1).float()
        labels = torch.stack([start_positions, end_positions], dim=1)
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=UNLABELLED, reduction="none")
        if teacher is not None:
            # As long as the batch's longest window, which padding may make longer or shorter than what is kept.
            wanted = nn.functional.pad(teacher, (0, logits.shape[-1] - teacher.shape[-1]), value=NEVER)
            soft = soft_cross_entropy(logits, wanted, self._temperature)
            loss = (1 - self._alpha) * loss + self._alpha * soft
        return QuestionAnsweringModelOutput(loss=loss.mean(), start_logits=logits[:, 0], end_logits=logits[:, 1])


def distilled(
    prepared: Prepared, data: QuestionData, lesson: LogitsLesson, settings: Settings, doc_stride: int
) -> Prepared:
    """Return a fine-tuning whose windows have a teacher's logits, and to which windows without labels are added.

    Args:
        prepared: the fine-tuning.
        data: of it; further questions about a passage that is chosen by or reported are not learned from.
        lesson: who teaches, by what; its texts are data sets of questions, whose answers are not looked at.
        settings: completed ones.
        doc_stride: tokens that neighbouring windows share.

    Raises:
        CheckpointError: the teacher cannot be loaded, is no span reader, or takes fewer tokens than
            ``settings.max_length``.
        DataError: a text cannot be read.
    """
    teacher = Teacher(
        load_question_answerer(lesson.teacher, settings.max_length, fine_tuned=True),
        load_tokenizer(lesson.teacher),
        "spans",
        settings.max_length,
    )
    held_out = {context for name, rows in data.splits.items() if name != "train" for context in rows["context"]}
    learned = data.splits["train"]
    rows, passages = cut(learned, prepared.tokenizer, settings.max_length, doc_stride)
    windows = list(_windows(learned, passages))
    for file in lesson.text:
        questions = load_rows(str(file))
        kept = [place for place, context in enumerate(questions["context"]) if context not in held_out]
        questions = questions.select(kept)
        further, passages = cut(questions, prepared.tokenizer, settings.max_length, doc_stride)
        if len(further):
            unlabelled = dict.fromkeys(("start_positions", "end_positions"), UNLABELLED)
            rows = concatenate_datasets([rows, further.map(lambda _, known=unlabelled: known, keep_in_memory=True)])
            windows += _windows(questions, passages)
    pairs = [(window.question, window.text) for window in windows]

    def answer(part: Sequence[Any]) -> npt.NDArray[Any]:
        return _logits(teacher, part, settings.max_length)

    raw = teacher.answers(pairs, answer)
    answers = np.full((len(windows), 2, settings.max_length), NEVER, dtype=np.float16)
    for place, (window, logits) in enumerate(zip(windows, raw, strict=True)):
        encoded = _encode(teacher.tokenizer, [(window.question, window.text)], settings.max_length)
        transfer(logits, encoded, window, answers[place])
    return replace(
        prepared,
        model=QuestionAnsweringStudent(cast(PreTrainedModel, prepared.model), lesson),
        train=rows.add_column("teacher", list(range(len(windows)))),
        collator=taught(prepared.collator, answers),
        facts=prepared.facts | lesson.facts(teacher.digest, pairs),
    )


class QuestionWindow(NamedTuple):
    """A stretch of a passage beside its question, as the student's tokens have it.

    Attributes:
        question: text.
        text: of the passage.
        place: of the first of the passage's tokens in the student's row.
        offsets: where those tokens stand in ``text``, int ``[tokens, 2]``.
    """

    question: str
    text: str
    place: int
    offsets: npt.NDArray[Any]


def transfer(logits: npt.NDArray[Any], encoded: Any, window: QuestionWindow, target: npt.NDArray[Any]) -> None:
    """Write a teacher's logits of one window where the student's tokens have them.

    Args:
        logits: start and end ``[2, at least its tokens]``.
        encoded: the window as the teacher's tokenizer cuts it, in a batch of one.
        window: as the student's does.
        target: ``[2, at least the student's tokens]``, which holds :data:`NEVER` everywhere. The first token of both
            stands for no answer.
    """
    target[:, 0] = logits[:, 0]
    ends = window.offsets[:, 1]
    for token, sequence in enumerate(encoded.sequence_ids(0)):
        first, after = encoded["offset_mapping"][0][token]
        if sequence != 1 or first == after:
            continue
        for side, character in enumerate((first, after - 1)):
            mine = int(np.searchsorted(ends, character, side="right"))
            if mine < len(ends):
                place = window.place + mine
                # Tokens that fall into one of the student's are one place to begin or end at.
                target[side, place] = np.logaddexp(target[side, place], logits[side, token], dtype=np.float32)


def _windows(questions: Dataset, passages: Sequence[PassageWindows]) -> Iterator[QuestionWindow]:
    for question, passage in zip(questions, passages, strict=True):
        for place, count, first in passage.places:
            offsets = passage.offsets[first : first + count]
            begins, ends = (int(offsets[0][0]), int(offsets[-1][1])) if count else (0, 0)
            yield QuestionWindow(question["question"], question["context"][begins:ends], place, offsets - begins)


def _encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], max_length: int) -> Any:
    questions, texts = (list(side) for side in zip(*pairs, strict=True))
    return tokenizer(
        questions,
        texts,
        truncation=True,
        max_length=max_length,
        padding=True,
        return_offsets_mapping=True,
        return_tensors=None,
    )


def _logits(teacher: Teacher, pairs: Sequence[tuple[str, str]], max_length: int) -> npt.NDArray[Any]:
    """Return start and end logits of windows, float16 ``[n, 2, max_length]``, :data:`NEVER` behind a window's end."""
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index][1]))
    found = np.full((len(pairs), 2, max_length), NEVER, dtype=np.float16)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = _encode(teacher.tokenizer, [pairs[index] for index in chosen], max_length)
            inputs = {name: torch.tensor(batch[name]) for name in teacher.tokenizer.model_input_names if name in batch}
            output = teacher.model(**inputs)
            logits = torch.stack([output.start_logits, output.end_logits], dim=1).float()
            logits = logits.masked_fill(inputs["attention_mask"][:, None] == 0, NEVER)
            found[chosen, :, : logits.shape[-1]] = logits.numpy()
    return found
