"""What is sent: texts of real lengths, as perf_analyzer's input data and as bodies of the facade's requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_bench import korean, texts
from trident_bench.load.ensembles import Ensemble
from trident_bench.load.errors import LoadError

#: Different requests in a file: more than are under way at once, and few enough to be read in no time.
ROWS = 1000
KOREAN = "ko"

Row = tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """Ensembles with the same inputs and outputs.

    Attributes:
        inputs: names of the inputs, in the order of a row's texts.
        output: the output that tells the kind.
        path: where the facade answers such requests.
        body: makes the facade's request of a row and the name of the ensemble.
    """

    inputs: tuple[str, ...]
    output: str
    path: str
    body: Callable[[Row, str], dict[str, Any]]

    def answers(self, ensemble: Ensemble) -> bool:
        """Whether an ensemble is of this kind."""
        return ensemble.inputs == set(self.inputs) and self.output in ensemble.outputs


KINDS = (
    Kind(("TEXT",), "PROBABILITY", "/generate", lambda row, name: {"passage": row[0], "model": name}),
    Kind(
        ("TEXT",),
        "EMBEDDING",
        "/embed",
        lambda row, name: {"sentences": [row[0]], "model": name.removesuffix("_embedding")},
    ),
    Kind(
        ("SENTENCE_1", "SENTENCE_2"),
        "SIMILARITY",
        "/pred/sentences",
        lambda row, name: {"sentence_1": row[0], "sentence_2": row[1], "model": name},
    ),
    Kind(
        ("QUESTION", "CONTEXT"),
        "ANSWER",
        "/qa",
        lambda row, name: {"question": row[0], "context": row[1], "model": name},
    ),
)


@dataclass(frozen=True)
class Traffic:
    """The requests for one ensemble.

    Attributes:
        triton: file with perf_analyzer's input data.
        facade: file with the facade's requests: ``{"path": ..., "bodies": [...]}``.
        rows: how many different requests there are.
        words: in a request, on average.
    """

    triton: Path
    facade: Path
    rows: int
    words: float


def kind_of(ensemble: Ensemble) -> Kind:
    """Return an ensemble's kind.

    Raises:
        LoadError: it takes inputs that nothing is written for.
    """
    for kind in KINDS:
        if kind.answers(ensemble):
            return kind
    known = "; ".join(f"{', '.join(kind.inputs)} to {kind.output}" for kind in KINDS)
    inputs = ", ".join(sorted(ensemble.inputs))
    raise LoadError(f"There are no texts for ensemble '{ensemble.name}' with the inputs {inputs}; known are {known}.")


def write_traffic(ensemble: Ensemble, folder: Path, count: int = ROWS) -> Traffic:
    """Write the requests for an ensemble, the same ones every time.

    Raises:
        LoadError: it takes inputs that nothing is written for.
    """
    kind = kind_of(ensemble)
    rows = _rows(kind, ensemble.languages, count)
    folder.mkdir(parents=True, exist_ok=True)
    triton, facade = folder / f"{ensemble.name}.json", folder / f"{ensemble.name}.facade.json"
    data = [{name: [text] for name, text in zip(kind.inputs, row, strict=True)} for row in rows]
    bodies = [kind.body(row, ensemble.name) for row in rows]
    triton.write_text(json.dumps({"data": data}, ensure_ascii=False), "utf-8")
    facade.write_text(json.dumps({"path": kind.path, "bodies": bodies}, ensure_ascii=False), "utf-8")
    words = sum(len(text.split()) for row in rows for text in row) / len(rows)
    return Traffic(triton, facade, len(rows), words)


def _rows(kind: Kind, languages: Sequence[str], count: int) -> Sequence[Row]:
    if kind.inputs == ("QUESTION", "CONTEXT"):
        return texts.questions(count)
    sentences = korean.sentences if languages == (KOREAN,) else texts.sentences
    if len(kind.inputs) == 1:
        return [(text,) for text in sentences(count)]
    both = sentences(2 * count)
    return list(zip(both[::2], both[1::2], strict=True))
