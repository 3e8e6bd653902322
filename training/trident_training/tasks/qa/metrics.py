"""Metrics of extracted answers: SQuAD's, KorQuAD's, and the edit distance."""

from __future__ import annotations

import re
import string
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from datasets import Features, List, Value
from rapidfuzz.distance import Levenshtein

from trident_training.metrics.base import TridentMetric

ANSWERS = Features({"predictions": Value("string"), "references": List(Value("string"))})
ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
#: What KorQuAD's script takes for quotation marks and brackets: a space each.
KOREAN_BRACKETS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


def normalize_squad(text: str) -> str:
    """Return lower case without punctuation and English articles, single spaces between words."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def normalize_korquad(text: str) -> str:
    """Return lower case without brackets, quotation marks and punctuation, single spaces between words."""
    return " ".join(text.translate(KOREAN_BRACKETS).lower().translate(PUNCTUATION).split())


class _BestOfReferences(TridentMetric):
    """Scores each prediction against the reference it fits best, an empty one where there is no reference; 0 to 100."""

    features: ClassVar[Features] = ANSWERS

    @staticmethod
    @abstractmethod
    def normalize(text: str) -> str:
        """Return a text as it is compared."""

    @staticmethod
    @abstractmethod
    def parts(text: str) -> Sequence[str]:
        """Return what the overlap is counted in."""

    @classmethod
    def matches(cls, prediction: str, accepted: Sequence[str]) -> bool:
        """Return whether a prediction is one of the references, or empty where there is none."""
        return cls.normalize(prediction) in {cls.normalize(each) for each in accepted or [""]}

    @classmethod
    def overlap(cls, prediction: str, accepted: Sequence[str]) -> float:
        """Return a prediction's F1, 0 to 1, with the reference that it fits best."""
        found = cls.parts(cls.normalize(prediction))
        return max(_overlap_f1(found, cls.parts(cls.normalize(each))) for each in accepted or [""])

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        pairs = list(zip(predictions, references, strict=True))
        return {
            "f1": 100 * sum(self.overlap(*pair) for pair in pairs) / len(pairs),
            "exact_match": 100 * sum(self.matches(*pair) for pair in pairs) / len(pairs),
        }


class SquadScore(_BestOfReferences):
    """SQuAD's exact match and word-level F1, in percent, after its normalisation.

    Example:
        >>> SquadScore().compute(predictions=["the old cat"], references=[["An old, black cat"]])
        {'f1': 80.0, 'exact_match': 0.0}
    """

    primary: ClassVar[str] = "f1"
    citation: ClassVar[str] = "Rajpurkar et al., SQuAD (2016), section 6.1"
    normalize = staticmethod(normalize_squad)

    @staticmethod
    def parts(text: str) -> Sequence[str]:
        """Return the words."""
        return text.split()


class KorquadScore(_BestOfReferences):
    """KorQuAD's exact match and character-level F1, in percent, after its normalisation."""

    primary: ClassVar[str] = "f1"
    citation: ClassVar[str] = "Lim, Kim and Lee, KorQuAD1.0 (2019), evaluation script"
    normalize = staticmethod(normalize_korquad)

    @staticmethod
    def parts(text: str) -> Sequence[str]:
        """Return the characters, without spaces."""
        return text.replace(" ", "")


class EditScore(TridentMetric):
    """Mean Levenshtein distance in characters between the prediction and its nearest reference; 0 is best.

    Example:
        >>> EditScore().compute(predictions=["1989년", "서울"], references=[["1989년 2월"], ["서울"]])
        {'edit_distance': 1.5}
    """

    primary: ClassVar[str] = "edit_distance"
    greater_is_better: ClassVar[bool] = False
    features: ClassVar[Features] = ANSWERS
    citation: ClassVar[str] = (
        "Levenshtein, Binary codes capable of correcting deletions, insertions and reversals (1966)"
    )

    def _compute(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Any]:
        distances = [
            min(Levenshtein.distance(prediction, each) for each in accepted or [""])
            for prediction, accepted in zip(predictions, references, strict=True)
        ]
        return {self.primary: sum(distances) / len(distances)}


#: By the name of whose they are.
SCORES: Mapping[str, type[_BestOfReferences]] = {"squad": SquadScore, "korquad": KorquadScore}


def refusals(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return how many questions without an answer have none, and how many with one have some, in percent.

    Returns:
        ``refused`` and ``answered``; nothing where every question has an answer.
    """
    pairs = list(zip(predictions, references, strict=True))
    without = [not prediction for prediction, accepted in pairs if not accepted]
    having = [bool(prediction) for prediction, accepted in pairs if accepted]
    if not without:
        return {}
    return {name: 100 * sum(each) / len(each) for name, each in (("refused", without), ("answered", having)) if each}


def _overlap_f1(found: Sequence[str], expected: Sequence[str]) -> float:
    if not found or not expected:
        return float(found == expected)
    shared = sum((Counter(found) & Counter(expected)).values())
    return 2 * shared / (len(found) + len(expected))
