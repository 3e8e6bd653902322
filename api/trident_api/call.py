"""What is known of one request while it is answered: noted by the endpoints, told in headers and in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import HTTPException

#: Most items that a refusal names.
MAX_NAMED = 20
#: Says what a request's body calls an item, by its place among those that are inferred, and the column of its text that
#: is meant, where one is.
Naming = Callable[[int, str | None], str]


def whole_body(place: int, column: str | None) -> str:
    """Name the item of a body that is one."""
    return column or "body"


def one_text(field: str) -> Naming:
    """Return the naming of a body with one text."""
    return lambda place, column: field


def one_object(field: str) -> Naming:
    """Return the naming of a body with one object of texts."""
    return lambda place, column: f"{field}.{column}" if column else field


def listed_texts(field: str) -> Naming:
    """Return the naming of a body with a list of texts."""
    return lambda place, column: f"{field}.{place}"


def listed_objects(field: str) -> Naming:
    """Return the naming of a body with a list of objects of texts."""
    return lambda place, column: f"{field}.{place}.{column}" if column else f"{field}.{place}"


def text_and_list(field: str, others: str) -> Naming:
    """Return the naming of a body with a text and a list of others, where the text is inferred before them."""
    return lambda place, column: f"{others}.{place - 1}" if place else field


class Truncating(Protocol):
    """A body that says what becomes of a text that is too long, in its own word and in the client's."""

    @property
    def truncate(self) -> str | bool | None:
        """Its own word."""

    @property
    def truncation(self) -> str:
        """``right``, ``left`` or ``error``."""


@dataclass
class Call:
    """One request. Times are in seconds, and None where there was no such step.

    Attributes:
        request_id: the client's own, or one made for it.
        key: SHA-256 of the key that was shown; None where none is asked for.
        task: ``cola``, ``sts``, ``embed``, ``qa``, ``classify`` or ``rerank``.
        size: sentences, pairs or questions in it.
        queue_seconds: the wait for a turn in the facade's queue.
        inference_seconds: from its turn to Triton's answer; the wait for the call that it was joined in,
            tokenization, Triton's own queue and the network are in it.
        truncated: a text was longer than the model takes.
        unknown: a text has tokens that the model's vocabulary does not know.
        unread_language: BCP 47 tag of a text's language that the set of models was not made for.
        truncated_items: which items of a list had such a text, from 0 on and in order; those of a file are told in
            its answer.
        unknown_items: the same of such tokens.
        tokens: how many the encoder read, specials included; told of embeddings alone.
        disconnected: the client closed the connection before it was answered.
        naming: what the body calls its items, so that a refusal names the right one.
    """

    request_id: str
    key: bytes | None = None
    task: str | None = None
    size: int | None = None
    queue_seconds: float | None = None
    inference_seconds: float | None = None
    truncated: bool = False
    unknown: bool = False
    unread_language: str | None = None
    truncated_items: list[int] = field(default_factory=list)
    unknown_items: list[int] = field(default_factory=list)
    tokens: int = 0
    disconnected: bool = False
    naming: Naming = whole_body

    def note_truncated(self, items: Iterable[int]) -> None:
        """Note which items had a text that was longer than the model takes."""
        self.truncated_items = sorted(items)
        self.truncated |= bool(self.truncated_items)

    def note_unknown(self, items: Iterable[int]) -> None:
        """Note which items have tokens that the model's vocabulary does not know."""
        self.unknown_items = sorted(items)
        self.unknown |= bool(self.unknown_items)

    def refuse_truncated(self, body: Truncating) -> None:
        """Refuse the request where a text was longer than the model takes, and its body wants none to be cut."""
        if not self.truncated or body.truncation != "error":
            return
        reason = f"`truncate` is {'false' if body.truncate is False else repr(body.truncate)}"
        which = ", ".join(map(str, self.truncated_items[:MAX_NAMED]))
        more = ", ..." if len(self.truncated_items) > MAX_NAMED else ""
        detail = f"Longer than the model takes, while {reason}: {which or 'the query'}{more}, from 0 on."
        raise HTTPException(413, detail)
