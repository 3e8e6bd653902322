"""Korean sentences to measure with: written for the project, the same every time, as long as real ones are."""

from __future__ import annotations

import random

SUBJECTS = ("우리 가족은", "그 학생은", "새로운 정부는", "제 친구가", "오래된 숙소가", "많은 사람들이", "호스트께서는")
TIMES = ("어제 저녁에", "오늘 아침", "지난주부터", "회의가 시작되기 전에", "밤늦게까지")
PLACES = ("공원에서", "지하철역 근처에서", "시내 중심가에서", "학교 뒤쪽에서", "강가의 작은 방에서")
OBJECTS = ("맛있는 음식을", "마지막 기차를", "새 법안을", "두 아이를", "에어컨과 난방을", "내일 날씨를")
MIDDLES = ("기다렸고", "준비했지만", "이야기하면서", "확인한 다음", "찾아보았는데")
ENDS = ("기다렸습니다", "추천하고 싶어요", "알려 줘", "좋아했다", "다시 확인했어요", "바꿔 주세요")
#: Words of a sentence as real ones have them (KLUE-STS: 8 on average, 31 at most): each length and how often it comes.
WORDS = {3: 5, 4: 8, 5: 10, 6: 12, 7: 12, 8: 11, 9: 10, 11: 9, 13: 7, 16: 4, 20: 2}


def sentences(count: int, seed: int = 7) -> list[str]:
    """Return sentences of 3 to 20 words."""
    rng = random.Random(seed)
    lengths = rng.choices(list(WORDS), weights=list(WORDS.values()), k=count)
    return [_sentence(rng, length) for length in lengths]


def _sentence(rng: random.Random, words: int) -> str:
    said: list[str] = []
    while len(said) < words - 1:
        said += " ".join(rng.choice(each) for each in (SUBJECTS, TIMES, PLACES, OBJECTS, MIDDLES)).split()
    # A clause that is cut in the middle still ends with a verb.
    end = rng.choice(ENDS).split()[-1]
    return f"{' '.join([*said[: words - 1], end])}."
