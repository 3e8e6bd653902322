"""How somebody's own file names its columns and parts them, where that is not as the task has it. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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

    Raises:
        ValueError: a delimiter of several characters.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ValueError(f"the delimiter is {self.delimiter!r}; one character is accepted")

    def named(self, found: Sequence[str], wanted: Iterable[str]) -> list[str]:
        """Return what the columns of a file are called here; one that is not wanted keeps its name.

        Letters' case and spaces around a name make no difference, unless two columns differ in nothing else.
        """
        result = [str(name) for name in found]
        plain = [name.strip().casefold() for name in result]
        for name in wanted:
            theirs = self.names.get(name, name)
            if theirs in found:
                result[list(found).index(theirs)] = name
            elif plain.count(theirs.strip().casefold()) == 1:
                result[plain.index(theirs.strip().casefold())] = name
        return result


AS_IT_IS = Form()


@dataclass(frozen=True)
class LabelledForm(Form):
    """How a file of labelled texts is written.

    Attributes:
        labels: further words for 0 and 1, in small letters.
    """

    labels: Mapping[str, int] = field(default_factory=dict)


AS_LABELLED = LabelledForm()
