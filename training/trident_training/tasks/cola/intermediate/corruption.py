"""Sentences broken by rule: each rule does one thing a grammar would mark, and says which words show it.

Rules work on words. They exchange function words and inflected forms, drop, add and move words, and put a word of
another class in a word's place. What a rule makes is now and then still a good sentence; most often it is not.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from trident_training.tasks.cola.intermediate.minimal_pairs import lines

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
#: A word a rule puts anywhere.
INSERTED = (
    "the", "a", "of", "to", "in", "that", "is", "it", "was", "for", "him", "them", "there", "been", "which", "not",
    "do", "by", "have", "who", "be", "what", "with",
)  # fmt: skip
SUFFIXES = ("s", "es", "ed", "ing", "ly", "er")
#: How often a corpus must show a form before it counts as a word, and how many words stand for any word.
SEEN, COMMON = 4, 8000
#: How often two things are broken in one sentence rather than one, and how many rules are tried.
TWICE, ATTEMPTS = 0.25, 12


@dataclass(frozen=True)
class Marked:
    """Words of a sentence, and for each 1 where it shows what is wrong, else 0."""

    words: tuple[str, ...]
    marks: tuple[int, ...]

    def replaced(self, start: int, end: int, words: Sequence[str]) -> Marked:
        """Return the sentence with other words from ``start`` to ``end``; they, or the word after a gap, are marked."""
        after = self.words[end:]
        marks = (*self.marks[:start], *(1 for _ in words), *self.marks[end:])
        result = Marked((*self.words[:start], *words, *after), marks)
        return result if words else result.marked(min(start, len(result.words) - 1))

    def marked(self, place: int) -> Marked:
        """Return the sentence with one more word marked."""
        return Marked(self.words, (*self.marks[:place], 1, *self.marks[place + 1 :]))


def words(text: str) -> list[str]:
    """Return a text's words and punctuation marks."""
    return WORD.findall(text)


class Corrupter:
    """Breaks sentences; knows inflections and words by looking at a corpus.

    Args:
        corpus: sentences as words.
    """

    def __init__(self, corpus: Iterable[Sequence[str]]) -> None:
        counts = Counter(word.lower() for sentence in corpus for word in sentence if word.isalpha())
        known = {word for word, count in counts.items() if count >= SEEN}
        self._peers = _exchangeable(line.split() for line in lines("function_words.txt"))
        families = [line.split() for line in lines("families.txt")]
        self._forms = _exchangeable([*families, *(_family(word, known) for word in sorted(known) if len(word) > 2)])
        self._common = [word for word, _ in counts.most_common(COMMON) if len(word) > 2 and word not in self._peers]
        self._rules: dict[Callable[[Marked, random.Random], Marked | None], int] = {
            self._inflect: 26,
            self._exchange_function_word: 22,
            self._swap_neighbours: 12,
            self._drop_function_word: 10,
            self._drop_word: 10,
            self._move_word: 10,
            self._insert: 8,
            self._exchange_word: 6,
            self._move_phrase: 5,
            self._cut_end: 4,
        }

    def corrupt(self, sentence: Sequence[str], rng: random.Random) -> Marked | None:
        """Return the sentence broken in one place or two, or None where no rule fits it."""
        whole = broken = Marked(tuple(sentence), (0,) * len(sentence))
        left = 1 + (rng.random() < TWICE)
        for rule in rng.choices([*self._rules], [*self._rules.values()], k=ATTEMPTS):
            result = rule(broken, rng)
            # The second rule may undo the first.
            if result is not None and _lower(result) not in (_lower(broken), _lower(whole)):
                broken, left = result, left - 1
            if not left:
                break
        return None if broken is whole else broken

    def _inflect(self, sentence: Marked, rng: random.Random) -> Marked | None:
        return _exchange(sentence, self._forms, rng)

    def _exchange_function_word(self, sentence: Marked, rng: random.Random) -> Marked | None:
        return _exchange(sentence, self._peers, rng)

    def _exchange_word(self, sentence: Marked, rng: random.Random) -> Marked | None:
        place = _place(sentence, lambda word: len(word) > 3 and word.isalpha() and word not in self._peers, rng)
        return None if place is None else sentence.replaced(place, place + 1, [rng.choice(self._common)])

    def _drop_function_word(self, sentence: Marked, rng: random.Random) -> Marked | None:
        return _drop(sentence, _place(sentence, lambda word: word in self._peers, rng))

    def _drop_word(self, sentence: Marked, rng: random.Random) -> Marked | None:
        return _drop(sentence, _place(sentence, lambda word: word[0].isalpha() and word not in self._peers, rng))

    def _insert(self, sentence: Marked, rng: random.Random) -> Marked | None:
        place = rng.randrange(len(sentence.words))
        return sentence.replaced(place, place, [rng.choice(INSERTED)])

    def _swap_neighbours(self, sentence: Marked, rng: random.Random) -> Marked | None:
        found = sentence.words
        places = [i for i in range(len(found) - 1) if found[i][0].isalnum() and found[i + 1][0].isalnum()]
        if not places:
            return None
        place = rng.choice(places)
        return sentence.replaced(place, place + 2, [found[place + 1], found[place]])

    def _move_word(self, sentence: Marked, rng: random.Random) -> Marked | None:
        start = _place(sentence, lambda word: word[0].isalnum(), rng)
        if start is None:
            return None
        end = start + rng.choice((-1, 1)) * rng.randint(2, 6)
        if not 0 <= end < len(sentence.words):
            return None
        word = sentence.words[start]
        rest = Marked(
            sentence.words[:start] + sentence.words[start + 1 :], sentence.marks[:start] + sentence.marks[start + 1 :]
        )
        return rest.replaced(end, end, [word])

    def _move_phrase(self, sentence: Marked, rng: random.Random) -> Marked | None:
        found = sentence.words
        if len(found) < 7:
            return None
        start, middle, end = sorted(rng.sample(range(len(found)), 3))
        order = [*range(start), *range(middle, end), *range(start, middle), *range(end, len(found))]
        moved = Marked(tuple(found[i] for i in order), tuple(sentence.marks[i] for i in order))
        for seam in (start, start + end - middle, end):
            moved = moved.marked(seam) if seam < len(found) else moved
        return moved

    def _cut_end(self, sentence: Marked, rng: random.Random) -> Marked | None:
        end = len(sentence.words) - (not sentence.words[-1][0].isalnum())
        start = end - rng.randint(1, 3)
        return sentence.replaced(start, end, []) if start >= 2 else None


def _exchangeable(classes: Iterable[Sequence[str]]) -> dict[str, list[str]]:
    others: dict[str, dict[str, None]] = defaultdict(dict)
    for members in classes:
        for word in members:
            others[word] |= dict.fromkeys(other for other in members if other != word)
    return {word: list(each) for word, each in others.items() if each}


def _family(word: str, known: set[str]) -> list[str]:
    stems = {word, word.removesuffix("e"), word[:-1] + "i" if word.endswith("y") else word}
    return [word, *sorted({stem + suffix for stem in stems for suffix in SUFFIXES} & known - {word})]


def _place(sentence: Marked, fits: Callable[[str], bool], rng: random.Random) -> int | None:
    places = [index for index, word in enumerate(sentence.words) if fits(word.lower())]
    return rng.choice(places) if places else None


def _exchange(sentence: Marked, others: dict[str, list[str]], rng: random.Random) -> Marked | None:
    place = _place(sentence, lambda word: word in others, rng)
    if place is None:
        return None
    return sentence.replaced(place, place + 1, [rng.choice(others[sentence.words[place].lower()])])


def _drop(sentence: Marked, place: int | None) -> Marked | None:
    if place is None or len(sentence.words) < 3:
        return None
    return sentence.replaced(place, place + 1, [])


def _lower(sentence: Marked) -> list[str]:
    return [word.lower() for word in sentence.words]
