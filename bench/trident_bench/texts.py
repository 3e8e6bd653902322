"""Texts to measure with, English and Korean: written for the project, the same every time, as long as real ones are."""

from __future__ import annotations

import random

SUBJECTS = (
    "the dog",
    "a man",
    "my friend",
    "the old committee",
    "every student",
    "a group of people",
    "the government",
)
VERBS = ("sleeps", "sees", "plays", "waits for", "has been painting", "talks about", "runs away from", "remembers")
OBJECTS = ("the guitar", "a red ball", "the last train", "two children", "the new law", "a bowl of soup", "the market")
PLACES = ("in the park", "near the river", "on a wooden table", "at the end of the street", "behind the school")
TIMES = ("today", "in the early morning", "since last week", "before the meeting began", "at night")
LINKS = ("while", "because", "although", "and then", "but")
#: Words of a sentence as real ones have them (STS-B: 11 on average, 40 at most): each length and how often it is drawn.
WORDS = {4: 4, 5: 8, 6: 10, 7: 12, 8: 12, 9: 11, 10: 9, 12: 8, 14: 6, 17: 5, 21: 5, 26: 4, 32: 2, 40: 1}
#: Parts of a Korean clause, in their order, and what a sentence ends with.
KOREAN_CLAUSE = (
    ("우리 가족은", "그 학생은", "새로운 정부는", "제 친구가", "오래된 숙소가", "많은 사람들이", "호스트께서는"),
    ("어제 저녁에", "오늘 아침", "지난주부터", "회의가 시작되기 전에", "밤늦게까지"),
    ("공원에서", "지하철역 근처에서", "시내 중심가에서", "학교 뒤쪽에서", "강가의 작은 방에서"),
    ("맛있는 음식을", "마지막 기차를", "새 법안을", "두 아이를", "에어컨과 난방을", "내일 날씨를"),
    ("기다렸고", "준비했지만", "이야기하면서", "확인한 다음", "찾아보았는데"),
)
KOREAN_ENDS = ("기다렸습니다", "추천하고 싶어요", "알려 줘", "좋아했다", "다시 확인했어요", "바꿔 주세요")
#: As above (KLUE-STS: 8 words on average, 31 at most).
KOREAN_WORDS = {3: 5, 4: 8, 5: 10, 6: 12, 7: 12, 8: 11, 9: 10, 11: 9, 13: 7, 16: 4, 20: 2}
#: Words of a passage: 20 to 400 tokens.
PASSAGE_WORDS = (18, 370)


def sentences(count: int, seed: int = 7) -> list[str]:
    """Return sentences of 4 to 40 words."""
    rng = random.Random(seed)
    lengths = rng.choices(list(WORDS), weights=list(WORDS.values()), k=count)
    return [_sentence(rng, length) for length in lengths]


def korean_sentences(count: int, seed: int = 7) -> list[str]:
    """Return Korean sentences of 3 to 20 words."""
    rng = random.Random(seed)
    lengths = rng.choices(list(KOREAN_WORDS), weights=list(KOREAN_WORDS.values()), k=count)
    return [_korean_sentence(rng, length) for length in lengths]


def pairs(count: int, seed: int = 7) -> list[tuple[str, str]]:
    """Return pairs of such sentences."""
    texts = sentences(2 * count, seed)
    return list(zip(texts[::2], texts[1::2], strict=True))


def questions(count: int, seed: int = 7) -> list[tuple[str, str]]:
    """Return questions and their passages of 20 to 400 tokens, evenly spread."""
    rng = random.Random(seed)
    return [(_question(rng), passage(rng.randint(*PASSAGE_WORDS), rng)) for _ in range(count)]


def passage(words: int, rng: random.Random) -> str:
    """Return a passage of so many words."""
    parts: list[str] = []
    left = words
    while left > 0:
        size = min(left, rng.choice(list(WORDS)))
        parts.append(_sentence(rng, size))
        left -= size
    return " ".join(parts)


def _sentence(rng: random.Random, words: int) -> str:
    clauses: list[str] = []
    while len(clauses) < words:
        clause = (SUBJECTS, VERBS, OBJECTS, PLACES, TIMES, LINKS)
        clauses += " ".join(rng.choice(each) for each in clause).split()
    text = " ".join(clauses[:words])
    return f"{text[0].upper()}{text[1:]}."


def _korean_sentence(rng: random.Random, words: int) -> str:
    clauses: list[str] = []
    while len(clauses) < words - 1:
        clauses += " ".join(rng.choice(each) for each in KOREAN_CLAUSE).split()
    # A clause that is cut in the middle still ends with a verb.
    end = rng.choice(KOREAN_ENDS).split()[-1]
    return f"{' '.join([*clauses[: words - 1], end])}."


def _question(rng: random.Random) -> str:
    return f"Who {rng.choice(VERBS)} {rng.choice(OBJECTS)} {rng.choice(PLACES)}?"
