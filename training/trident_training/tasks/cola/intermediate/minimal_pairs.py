"""Minimal pairs of acceptable and unacceptable sentences, made from templates of the phenomena that grammars describe.

``pairs.txt`` has a template a line: an acceptable sentence and, each after a bar, some that are not. ``<class>``
stands for a word of the class in ``lexicon.txt``, the same wherever that slot stands; ``<class2>`` for another;
``<verb:past>`` is inflected (``s``, ``past``, ``en`` the participle, ``ing``; ``pl`` for nouns). The phenomena are
those of textbook syntax (agreement, binding, movement, complementation, ellipsis) and the verb classes of Levin,
English Verb Classes and Alternations (1993).
"""

from __future__ import annotations

import random
import re
from importlib import resources

SLOT = re.compile(r"<([a-z_]+)(\d*)(?::([a-z]+))?>")
VOWELS = "aeiou"


def lines(file: str) -> list[str]:
    """Return the lines of one of the package's word lists, without its comments."""
    text = resources.files(__package__).joinpath(file).read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


CLASSES = {name: words.split() for name, words in (line.split(": ", 1) for line in lines("lexicon.txt"))}
TEMPLATES = [[each.strip() for each in line.split("|")] for line in lines("pairs.txt")]
PLURALS = {
    "man": "men", "woman": "women", "child": "children", "mouse": "mice", "fish": "fish", "knife": "knives",
    "wolf": "wolves", "policeman": "policemen", "shelf": "shelves",
}  # fmt: skip
#: Past and participle of irregular verbs.
IRREGULAR = {
    base: (past, participle)
    for base, past, participle in (
        line.split()
        for line in """\
see saw seen
hit hit hit
find found found
buy bought bought
steal stole stolen
lose lost lost
sell sold sold
break broke broken
throw threw thrown
sleep slept slept
swim swam swum
fall fell fallen
sink sank sunk
freeze froze frozen
bend bent bent
cut cut cut
read read read
build built built
give gave given
send sent sent
lend lent lent
show showed shown
make made made
put put put
set set set
take took taken
rob robbed robbed
strip stripped stripped
shoot shot shot
think thought thought
say said said
know knew known
tell told told
keep kept kept
stop stopped stopped
meet met met
fight fought fought
hug hugged hugged
drip dripped dripped
chop chopped chopped
plan planned planned
rub rubbed rubbed
admit admitted admitted
pat patted patted
occur occurred occurred
eat ate eaten
spread spread spread
tie tied tied
sweep swept swept
stick stuck stuck
leave left left
drink drank drunk
bite bit bitten""".splitlines()
    )
}
DOUBLED = {"hit", "cut", "rob", "strip", "stop", "hug", "drip", "chop", "plan", "rub", "swim", "put", "set", "chat"}
#: Openings under which a sentence stays what it is.
OPENINGS = ("In fact, ", "Of course, ", "I think that ", "I know that ", "They said that ", "You see, ", "Today, ")


def minimal_pair(rng: random.Random) -> tuple[str, str]:
    """Return an acceptable sentence and one that is not, from one template and the same words."""
    # Now and then two forms of a word are spelt alike ("hit"), and the pair is none.
    good = bad = ""
    while good == bad:
        good, bad = _filled(rng)
    return good, bad


def _filled(rng: random.Random) -> tuple[str, str]:
    good, *others = rng.choice(TEMPLATES)
    bad = rng.choice(others)
    chosen: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        name, number, form = match.groups()
        slot = name + number
        while slot not in chosen:
            word = _word(name, rng)
            if word not in chosen.values():
                chosen[slot] = word
        return inflect(chosen[slot], form) if form else chosen[slot]

    opening = rng.choice(OPENINGS) if good.endswith(".") and rng.random() < 0.12 else ""
    return _sentence(opening + SLOT.sub(fill, good)), _sentence(opening + SLOT.sub(fill, bad))


def inflect(word: str, form: str) -> str:
    """Return a noun's plural (``pl``) or a verb's third person (``s``), past, participle (``en``) or ``ing`` form."""
    y = word.endswith("y") and word[-2] not in VOWELS
    if form in {"pl", "s"}:
        if form == "pl" and word in PLURALS:
            return PLURALS[word]
        if word.endswith(("s", "x", "ch", "sh", "z")):
            return f"{word}es"
        return f"{word[:-1]}ies" if y else f"{word}s"
    stem = word + word[-1] if word in DOUBLED else word.removesuffix("e")
    if form == "ing":
        return f"{word if word.endswith('ee') else stem}ing"
    if word in IRREGULAR:
        return IRREGULAR[word][form == "en"]
    return f"{word[:-1]}ied" if y else f"{stem}ed"


def _word(name: str, rng: random.Random) -> str:
    if name == "name" and rng.random() < 0.3:
        return f"{rng.choice(('the', 'the', 'my', 'that'))} {rng.choice(CLASSES['person'])}"
    return rng.choice(CLASSES[name])


def _sentence(text: str) -> str:
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return text[0].upper() + text[1:]
