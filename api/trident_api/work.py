"""How much work a request is, in tokens, and in whose line it waits for that; see :mod:`trident_api.admission`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trident_client import contract

from trident_api.admission import Kind

#: A token is about so many bytes of text, and each text has so many tokens besides.
BYTES_PER_TOKEN, SPECIAL_TOKENS = 4, 2
#: What encoders that cut a text look at of it, at most.
MOST_TOKENS = 512
#: A request of more tokens, or of more items than a batch, is a large one.
LARGE_WORK = 4096
#: A text that has more tokens, and is read as a whole, makes its request a giant one: 131,000 letters of a passage.
GIANT_WORK = 32_768


def work_of(task: str, items: Sequence[Any]) -> float:
    """Return about how many tokens a task's items have, by their bytes; counting them is half of what they cost."""
    # A task of one item a request reads the whole of it; the others' encoders cut a text that is too long.
    most = math.inf if contract.ensemble_of(task)[1].max_batch == 1 else MOST_TOKENS
    texts = (text for item in items for text in ((item,) if isinstance(item, str) else item))
    return sum(min(len(text.encode(errors="replace")) / BYTES_PER_TOKEN, most) + SPECIAL_TOKENS for text in texts)


def kind_of(task: str, items: Sequence[Any], work: float) -> Kind:
    """Return whose line a request joins, by a task's items and by the tokens that they have in all."""
    is_read_whole = contract.ensemble_of(task)[1].max_batch == 1
    if work > GIANT_WORK and is_read_whole and any(work_of(task, [item]) > GIANT_WORK for item in items):
        return Kind.GIANT
    return Kind.LARGE if work > LARGE_WORK or len(items) > contract.MAX_BATCH else Kind.SMALL
