"""Files of sentence pairs: JSON, JSON lines or CSV in; JSON, JSON lines or CSV out."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from trident_client import contract

from trident_api.inference import PairResult
from trident_api.problems import MAX_PROBLEMS, FieldProblem, InvalidRequestError, field_problems
from trident_api.schemas import Sentence

Format = Literal["json", "jsonl", "csv"]

SUFFIXES: dict[str, Format] = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
MEDIA_TYPES: dict[str, Format] = {
    "application/json": "json",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "text/csv": "csv",
}
ACCEPTED = (
    'a file of `{"results": [{"idx", "sentence1", "sentence2"}, ...]}` (.json), of one such object a line (.jsonl), '
    "or of rows below a header with the columns idx, sentence1 and sentence2 (.csv)"
)
# The csv module's own limit is shorter than what a model takes.
csv.field_size_limit(contract.MAX_TEXT_BYTES)


def _check_idx(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str | None):
        raise ValueError("must be a whole number, a text or null")
    return value


class FilePair(BaseModel):
    """One row of a file."""

    model_config = ConfigDict(strict=True)

    idx: Annotated[int | str | None, BeforeValidator(_check_idx)] = None
    sentence1: Sentence = Field(validation_alias=AliasChoices("sentence1", "sentence_1"))
    sentence2: Sentence = Field(validation_alias=AliasChoices("sentence2", "sentence_2"))


#: Rows, and what says where in the file one stands.
Pairs = tuple[list[FilePair], Callable[[int], str]]


class PredictedFile(BaseModel):
    """What became of a file, in its order."""

    sentences: list[list[str]] = Field(description="The two sentences of each pair.")
    preds: list[int] = Field(description="1 where the score reaches the threshold of similarity, else 0.")
    scores: list[float] = Field(description="Cosines of the two embeddings, -1 to 1.")
    runtime: float = Field(serialization_alias="runtime(sec)", description="Seconds the answer took.")
    truncated: list[int] = Field([], description="Pairs with a sentence longer than the model takes; absent if none.")


def read_pairs(name: str | None, media_type: str | None, content: bytes) -> Pairs:
    """Return a file's rows, and what says where in the file one stands.

    Args:
        name: the file's name, whose suffix tells its format.
        media_type: tells it where the suffix does not; where neither does, the content is looked at.
        content: the file, UTF-8.

    Raises:
        InvalidRequestError: it is none of what is accepted; names the rows at fault.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("file", f"is not UTF-8 at byte {error.start}; accepted is {ACCEPTED}, in UTF-8") from None
    form = _format(name or "", (media_type or "").partition(";")[0].strip().lower(), text)
    return {"json": _read_json, "jsonl": _read_lines, "csv": _read_csv}[form](text)


def _format(name: str, media_type: str, text: str) -> Format:
    suffix = f".{name.rpartition('.')[2].lower()}"
    if form := SUFFIXES.get(suffix) or MEDIA_TYPES.get(media_type):
        return form
    if not text.lstrip().startswith(("{", "[")):
        return "csv"
    first, _, rest = text.lstrip().partition("\n")
    return "jsonl" if rest.strip() and _is_json(first) else "json"


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _read_json(text: str) -> Pairs:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _refused("file", f"is not JSON ({error}); accepted is {ACCEPTED}") from None
    rows = content.get("results") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise _refused("results", f"must be a list; accepted is {ACCEPTED}")
    return _validated(rows, lambda index: f"results.{index}")


def _read_lines(text: str) -> Pairs:
    rows, numbers = [], []
    # Only the line feed ends a line: JSON may hold every other character that Unicode calls a line's end.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise _refused(f"line {number}", f"is not JSON ({error}); accepted is {ACCEPTED}") from None
        numbers.append(number)
    return _validated(rows, lambda index: f"line {numbers[index]}")


def _read_csv(text: str) -> Pairs:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows, numbers = [], []
    try:
        columns = {"sentence1", "sentence2"}
        names = [name.strip().replace("sentence_", "sentence") for name in reader.fieldnames or ()]
        if missing := sorted(columns.difference(names)):
            raise _refused("line 1", f"has no column {' and no column '.join(missing)}; accepted is {ACCEPTED}")
        if duplicates := sorted(each for each in columns | {"idx"} if names.count(each) > 1):
            raise _refused(
                "line 1", f"has the column {' and '.join(duplicates)} more than once; accepted is {ACCEPTED}"
            )
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        for row in reader:
            if None in row:
                # A comma that was not quoted would otherwise move a sentence's end into the next column.
                raise _refused(f"line {reader.line_num}", "has more cells than the header; quote cells with commas")
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise _refused(f"line {reader.line_num}", f"is not CSV ({error}); accepted is {ACCEPTED}") from None
    return _validated(rows, lambda index: f"line {numbers[index]}")


def _validated(rows: Sequence[Any], where: Callable[[int], str]) -> Pairs:
    pairs, problems = [], []
    for index, row in enumerate(rows):
        try:
            pairs.append(FilePair.model_validate(row))
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
            problems += [
                FieldProblem(field=f"{where(index)}.{each.field}".removesuffix(".body"), detail=each.detail)
                for each in field_problems([dict(detail) for detail in details])
            ]
        if len(problems) >= MAX_PROBLEMS:
            # A file may have millions of such rows.
            raise InvalidRequestError(problems, perhaps_more=index + 1 < len(rows))
    if problems:
        raise InvalidRequestError(problems)
    return pairs, where


def _refused(field: str, detail: str) -> InvalidRequestError:
    return InvalidRequestError([FieldProblem(field=field, detail=detail)])


class JsonAnswer:
    """Writes ``{"sentences", "preds", "scores", "runtime(sec)"}`` part by part.

    ``truncated`` follows where sentences were longer than the model takes: the places of their pairs in the file. What
    the vocabulary cannot read, the header alone tells: these answers have been published as they are.
    """

    media_type = "application/json"

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._preds: list[int] = []
        self._truncated: list[int] = []

    def part(self, pairs: Sequence[FilePair], found: Sequence[PairResult]) -> bytes:
        """Return the text of the next pairs."""
        prefix = b"," if self._scores else b'{"sentences":['
        self._truncated += [index for index, each in enumerate(found, len(self._scores)) if each.truncated]
        self._scores += [each.score for each in found]
        self._preds += [int(each.similar) for each in found]
        return prefix + orjson.dumps([[each.sentence1, each.sentence2] for each in pairs])[1:-1]

    def end(self, seconds: float) -> bytes:
        """Return what closes the answer."""
        prefix = b"]" if self._scores else b'{"sentences":[]'
        rest: dict[str, Any] = {"preds": self._preds, "scores": self._scores, "runtime(sec)": seconds}
        if self._truncated:
            rest["truncated"] = self._truncated
        return prefix + b"," + orjson.dumps(rest)[1:]


class LinesAnswer:
    """Writes an object a pair: ``{"idx", "sentence1", "sentence2", "score", "pred", "truncated", "unknown"}``."""

    media_type = "application/x-ndjson"

    def part(self, pairs: Sequence[FilePair], found: Sequence[PairResult]) -> bytes:
        """Return the lines of the next pairs."""
        return b"".join(
            orjson.dumps(
                {
                    **pair.model_dump(),
                    "score": each.score,
                    "pred": int(each.similar),
                    "truncated": each.truncated,
                    "unknown": each.unknown,
                }
            )
            + b"\n"
            for pair, each in zip(pairs, found, strict=True)
        )

    def end(self, seconds: float) -> bytes:
        """Return nothing: every line is whole."""
        return b""


class CsvAnswer:
    """Writes rows below the header ``idx,sentence1,sentence2,score,pred,truncated,unknown``."""

    media_type = "text/csv"

    def __init__(self) -> None:
        self._header: list[list[str]] = [["idx", "sentence1", "sentence2", "score", "pred", "truncated", "unknown"]]

    def part(self, pairs: Sequence[FilePair], found: Sequence[PairResult]) -> bytes:
        """Return the rows of the next pairs, below the header if they are the first."""
        rows = (
            [pair.idx, pair.sentence1, pair.sentence2, each.score, *map(int, each[1:])]
            for pair, each in zip(pairs, found, strict=True)
        )
        return self._write(chain(self._take_header(), rows))

    def end(self, seconds: float) -> bytes:
        """Return the header if there was no pair."""
        return self._write(self._take_header())

    def _take_header(self) -> list[list[str]]:
        header, self._header = self._header, []
        return header

    def _write(self, rows: Any) -> bytes:
        out = io.StringIO(newline="")
        csv.writer(out).writerows(rows)
        return out.getvalue().encode()


Answer = JsonAnswer | LinesAnswer | CsvAnswer


def answer_for(accept: str) -> Answer:
    """Return the writer of the form that an ``Accept`` header asks for first; JSON where it asks for none of them."""
    writers: dict[Format, type[Answer]] = {"json": JsonAnswer, "jsonl": LinesAnswer, "csv": CsvAnswer}
    wanted = (each.partition(";")[0].strip().lower() for each in accept.split(","))
    return next((writers[MEDIA_TYPES[each]] for each in wanted if each in MEDIA_TYPES), JsonAnswer)()
