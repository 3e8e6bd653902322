"""How somebody's own file names its columns and parts them, where that is not as the task has it. Free of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from typer import Option

TextColumn = Annotated[str | None, Option(help="What the data's column of texts is called, if not sentence.")]
TextColumns = Annotated[
    list[str], Option(help="What the two columns of sentences are called: give it twice.", show_default=False)
]
LabelColumn = Annotated[str | None, Option(help="What the data's column of labels or scores is called.")]
Delimiter = Annotated[
    str | None, Option(help="What parts the columns of a .csv or .tsv file; a comma or a tabulator by default.")
]


@dataclass(frozen=True)
class Form:
    """How a file is written.

    Attributes:
        names: what columns are called there, by what they are called here.
        delimiter: one character between columns; the ending's own when None.
        optional: columns that may be there, by what they are called here.
        options: of a command, those that name columns.

    Raises:
        ValueError: a delimiter of several characters.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    optional: tuple[str, ...] = ()
    options: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"the delimiter is {self.delimiter!r}; one character is accepted")

    def theirs(self, name: str) -> str:
        """Return what a column is called there."""
        return self.names.get(name, name)

    def named(self, found: Sequence[str], wanted: Iterable[str]) -> list[str]:
        """Return what the columns of a file are called here; one that is not wanted keeps its name.

        Letters' case and spaces around a name make no difference, unless two columns differ in nothing else.
        """
        result = [str(name) for name in found]
        plain = [name.strip().casefold() for name in result]
        for name in (*wanted, *self.optional):
            theirs = self.theirs(name)
            if theirs in found:
                result[list(found).index(theirs)] = name
            elif plain.count(theirs.strip().casefold()) == 1:
                result[plain.index(theirs.strip().casefold())] = name
        return result


AS_IT_IS = Form()


@dataclass(frozen=True)
class Headerless:
    """How a tab-separated file without a header line is written.

    Attributes:
        columns: what they are called here.
        title: what is said of them.
        holds: whether a file's rows are such: their first one may be a header that names other columns.
    """

    columns: tuple[str, ...]
    title: str
    holds: Callable[[Sequence[Sequence[str]]], bool]


@dataclass(frozen=True)
class LabelledForm(Form):
    """How a file of labelled texts is written.

    Attributes:
        labels: further words for 0 and 1, in small letters.
        columns: what rows must have; a second text is called ``text_pair``.
        together: the texts by which rows belong together: all that share them are on one side of a carving.
        separator: what parts the labels of a text that may have several; None where each has one.
    """

    options: tuple[str, ...] = field(default=("--text-column", "--label-column"), compare=False)
    labels: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ("sentence", "label")
    together: tuple[str, ...] = ("sentence",)
    separator: str | None = None


AS_LABELLED = LabelledForm()
