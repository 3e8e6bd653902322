"""The endpoints that take an uploaded file of sentence pairs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, File, Form, Header, Query, Request, Response, UploadFile
from fastapi.responses import StreamingResponse
from starlette.datastructures import UploadFile as UploadedFile
from starlette.types import Send

from trident_api import files
from trident_api.endpoints import call_and_inference, one_model
from trident_api.hub_endpoints import INFERENCE_ERRORS
from trident_api.problems import FieldProblem, InvalidRequestError
from trident_api.schemas import OPTIONS, Truncation

#: Paths that take a form.
UPLOADS = ("/pred/file", "/pred/multi", "/pred/file/multi")
#: A file of more pairs is answered while it is worked on.
STREAM_THRESHOLD = 1024
#: Pairs whose answers are written together.
PAIRS_PER_WRITE = 64

router = APIRouter(tags=["files"])
Upload = Annotated[UploadFile, File(description=f"Accepted is {files.ACCEPTED}.")]
Model = Annotated[
    str | None,
    Form(
        max_length=100,
        description="The set of models that compares, as `/models` lists them; `sts` by default.",
        # Swagger UI writes "string" into a field without one.
        examples=["sts"],
    ),
]
Truncate = Annotated[
    Truncation,
    Form(
        description="Which end a sentence loses that is longer than the model takes; `error` refuses the file, once it "
        "is read.",
        examples=["right"],
    ),
]
InQuery = Annotated[str | None, Query(alias="model", max_length=100, description="As `model` in the form.")]
Accept = Annotated[str, Header(include_in_schema=False)]
DESCRIBED: dict[str, Any] = {
    "responses": {
        200: {
            "model": files.PredictedFile,
            # The first is what Swagger UI asks for.
            "content": {
                "application/json": {},
                "application/x-ndjson": {"schema": {"type": "string"}},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **INFERENCE_ERRORS,
    },
    "response_class": Response,
}


@router.post("/pred/file", **DESCRIBED)
async def predict_file(
    request: Request,
    file: Upload,
    model: Model = None,
    truncate: Truncate = "right",
    in_query: InQuery = None,
    accept: Accept = "",
) -> Response:
    """Compare the pairs of a file, batch after batch.

    The answer is in the file's order; ask with `Accept: application/x-ndjson` or `text/csv` for one row a pair. Files
    of more than 1,024 pairs are answered while they are worked on; should that fail half-way, the connection breaks.
    """
    return await _predict(request, file, one_model(model, in_query), truncate, accept, concurrency=1)


@router.post("/pred/multi", **DESCRIBED)
@router.post("/pred/file/multi", **DESCRIBED)
async def predict_file_concurrently(
    request: Request,
    file: Upload,
    model: Model = None,
    truncate: Truncate = "right",
    in_query: InQuery = None,
    accept: Accept = "",
) -> Response:
    """Compare the pairs of a file, several batches at once.

    Otherwise the same as `/pred/file`.
    """
    concurrency: int = request.app.state.settings.file_concurrency
    return await _predict(request, file, one_model(model, in_query), truncate, accept, concurrency)


class _Form(NamedTuple):
    """What a form says of texts that are too long; see :meth:`Call.refuse_truncated`."""

    truncate: Truncation

    @property
    def truncation(self) -> Truncation:
        return self.truncate


async def _predict(
    request: Request, file: UploadFile, model: str, truncate: Truncation, accept: str, concurrency: int
) -> Response:
    started = time.perf_counter()
    call, inference = call_and_inference(request)
    # The form that was read for this endpoint already.
    form = await request.form()
    if (files_given := sum(isinstance(each, UploadedFile) for _, each in form.multi_items())) > 1:
        detail = f"{files_given} files came in one form; one is accepted"
        raise InvalidRequestError([FieldProblem(field="file", detail=detail)])
    if foreign := [name for name in OPTIONS if name in form and name != "truncate"]:
        detail = "is no option of a file; accepted are model, truncate"
        raise InvalidRequestError([FieldProblem(field=name, detail=detail) for name in foreign])
    content = await file.read()
    # A file of many rows would hold up everybody else's requests.
    rows, where = await asyncio.to_thread(files.read_pairs, file.filename, file.content_type, content)
    call.naming = lambda place, column: where(place)
    pairs = [(row.sentence1, row.sentence2) for row in rows]
    answer = files.answer_for(accept)
    truncated: list[int] = []

    async def parts() -> AsyncGenerator[bytes, None]:
        stream = inference.stream_similarity(call, pairs, model, concurrency, truncate_left=truncate == "left")
        async with contextlib.aclosing(stream) as found:
            for start in range(0, len(rows), PAIRS_PER_WRITE):
                part = rows[start : start + PAIRS_PER_WRITE]
                results = [await anext(found) for _ in part]
                truncated.extend(place for place, each in enumerate(results, start) if each.truncated)
                yield answer.part(part, results)
            # Also of a file without rows, the model is looked for.
            await anext(found, None)
        yield answer.end(round(time.perf_counter() - started, 6))

    found = parts()
    # Where a sentence that is too long refuses the file, all of it is read before the answer begins.
    if len(pairs) <= STREAM_THRESHOLD or truncate == "error":
        whole = b"".join([each async for each in found])
        if truncate == "error":
            call.note_truncated(truncated)
            call.refuse_truncated(_Form(truncate))
        return Response(whole, media_type=answer.media_type)
    # What fails at once, fails with its status: only then the answer begins.
    first = await anext(found)
    return _ClosingResponse(_following(first, found), media_type=answer.media_type)


async def _following(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(rest):
        yield first
        async for each in rest:
            yield each


class _ClosingResponse(StreamingResponse):
    """Closes its content where it ends before that does, so that nothing of it is held until it is collected."""

    def __init__(self, content: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(content, media_type=media_type)
        self._content = content

    async def stream_response(self, send: Send) -> None:
        async with contextlib.aclosing(self._content):
            await super().stream_response(send)
