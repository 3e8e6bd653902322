"""What text is: the one rule that client, facade and training share, and that the tokenizers have a copy of."""

from __future__ import annotations

import unicodedata


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
