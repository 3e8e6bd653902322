"""What text is: the one rule that client, facade and training share, and that the tokenizers have a copy of."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

#: Letters of Hangul, whole syllables and parts of them; the fillers, which are drawn as nothing, are none.
_HANGUL = re.compile("[\u1100-\u115e\u1161-\u11ff\u3131-\u3163\u3165-\u318e\ua960-\ua97c\uac00-\ud7a3\ud7b0-\ud7fb]")
#: What Hangul writes, as a BCP 47 tag.
_KOREAN = "ko"


def is_blank(text: str) -> bool:
    """Say whether a text has no visible character: no letter, number, punctuation mark or symbol.

    Spaces and controls are none, nor are format characters such as the zero-width joiner, variation selectors and other
    marks without a letter, private use, lone surrogates, and letters and symbols that are drawn as nothing: the fillers
    of Hangul and the empty Braille pattern.
    """
    # What is not assigned (Cn) may be a letter of a Unicode that is newer than Python's.
    return not any(
        (category[0] in "LNPS" or category == "Cn") and character not in "\u115f\u1160\u2800\u3164\uffa0"
        for character, category in zip(text, map(unicodedata.category, text), strict=True)
    )


def as_text(value: Any) -> Any:
    """Return bytes as the UTF-8 that they are; bytes that are none, and everything else, as they are.

    Parquet may hold text that was written without saying that it is text.
    """
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def is_korean(text: str) -> bool:
    """Say whether half of a text's letters or more are Hangul, which writes no other language."""
    found = len(_HANGUL.findall(text))
    return found > 0 and 2 * found >= sum(map(str.isalpha, text))


def unread_language(items: Sequence[Any], languages: Sequence[str]) -> str | None:
    """Return the language of an item that is none of those a set of models is for; None where nobody can tell.

    Args:
        items: texts, or tuples of them.
        languages: BCP 47 tags, as the set's configuration names them; none where it does not.
    """
    if not languages or any(each.split("-")[0] == _KOREAN for each in languages):
        return None
    # An item that is none was refused already.
    texts = (text for item in items for text in (item if isinstance(item, (list, tuple)) else (item,)))
    return _KOREAN if any(isinstance(text, str) and is_korean(text) for text in texts) else None
