"""Questions without an answer, made of those that have one: each is put to a passage that does not hold it.

So a reader learns to say that there is none where only SQuAD 1.1 or KorQuAD 1.0 is to be had. Half of the passages are
of the question's own article, the one that shares most words with it; the others are of any other.
Source of the task: Rajpurkar et al., Know What You Don't Know (2018).
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence
from typing import Any

#: Passages that are looked at for one without the answer.
TRIES = 20


def without_answer(rows: Sequence[dict[str, Any]], share: float, seed: int = 0) -> list[dict[str, Any]]:
    """Return questions put to passages that do not hold their answers.

    Args:
        rows: questions, with the passages that others of them are put to.
        share: of the questions that have an answer, how many are put to a second passage, 0 to 1.
        seed: of the choice.

    Returns:
        New rows, whose ``answers`` are empty; fewer where no passage is without the answer.
    """
    answered = [row for row in rows if row["answers"]["text"]]
    generator = random.Random(seed)
    articles: dict[str, dict[str, None]] = {}
    for row in rows:
        articles.setdefault(row["title"], {})[row["context"]] = None
    passages = list({row["context"]: None for row in rows})
    plain = {passage: _plain(passage) for passage in passages}
    words = {passage: set(plain[passage].split()) for passage in passages}
    made = []
    for number, row in enumerate(generator.sample(answered, round(share * len(answered)))):
        answers = [_plain(text) for text in row["answers"]["text"]]
        question = set(_plain(row["question"]).split())
        near = [each for each in articles[row["title"]] if each != row["context"]] if number % 2 == 0 else []
        near.sort(key=lambda each: len(question & words[each]), reverse=True)
        far = generator.choices(passages, k=TRIES)
        for passage in [*near, *far]:
            if passage != row["context"] and not any(answer in plain[passage] for answer in answers):
                empty: dict[str, list[Any]] = {"text": [], "answer_start": []}
                made.append({**row, "id": f"{row['id']}-no-answer", "context": passage, "answers": empty})
                break
    return made


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()
