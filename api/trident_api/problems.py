"""Every error as one JSON shape: RFC 9457, ``application/problem+json``.

The table below is the one place where the client's errors become HTTP statuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send
from trident_client import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TransportError,
    TridentError,
    UsageError,
)

from trident_api.admission import RefusedError
from trident_api.call import Naming, whole_body
from trident_api.catalogue import UnknownModelError
from trident_api.redaction import without_internals
from trident_api.schemas import OPTIONS, SHAPE_TAG

STATUSES: Mapping[type[TridentError], int] = {
    BadInputError: 422,
    NotReadyError: 503,
    OverloadedError: 429,
    TransportError: 503,
    DeadlineError: 504,
    ServerError: 502,
    # The facade's client is closed only while the facade stops.
    UsageError: 503,
}


#: Below it, errors are such as OpenAI's clients show.
OPENAI_PATH = "/v1/"
MODEL_NOT_FOUND = "model_not_found"
#: What OpenAI's clients find as ``code``, by status, where an error has none of its own.
OPENAI_CODES = {401: "invalid_api_key", 413: "request_too_large", 429: "rate_limit_exceeded"}
#: Where its clients ask that are told another address than they need.
OPENAI_ENDPOINTS = {"/embeddings", "/chat/completions", "/completions", "/responses"}
#: What text-embeddings-inference has beside, and why it is not here.
NOT_SERVED = {
    "/embed_all": "The models answer with one vector a text, and not with its tokens'; /embed gives that one, and "
    "/tokenize the tokens.",
    "/embed_sparse": "No model gives sparse vectors; /embed gives dense ones.",
}
#: Where text-embeddings-inference's and the hub's clients ask; an error there has the members that they read, too.
HUB_PATHS = {"/", "/decode", "/embed", "/info", "/predict", "/qa", "/rerank", "/similarity", "/tokenize", *NOT_SERVED}
HubErrorType = Literal["Backend", "Overloaded", "Unhealthy", "Validation"]
#: Fields at fault that are named; a file may have any number.
MAX_PROBLEMS = 20
#: Every answer of these tells the client when to ask again.
RETRIED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


class FieldProblem(BaseModel):
    """One field of the request that was not accepted."""

    field: str = Field(description="Where, such as `sentence_1`.")
    detail: str = Field(description="What is accepted.")


class OpenAIError(BaseModel):
    """An error as OpenAI's clients read it."""

    message: str
    type: str = Field(description="`invalid_request_error`, `rate_limit_error` or `server_error`.")
    param: str | None = Field(None, description="The first field at fault, if any.")
    code: str | None = Field(None, description="Such as `model_not_found`; absent where there is none.")


BLANK = "must hold at least one visible character"
#: What an error may say, by its status, for the document; of the others, that a field is blank.
DETAILS = {
    401: "A key is needed: the header `Authorization: Bearer <key>`.",
    404: "model 'sts_large' is not served for sts; accepted are sts, sts_base, sts_ko",
    413: "The body is longer than 1000000 bytes, the most that is accepted.",
    415: "The body's content-encoding is not known; gzip is accepted, or none.",
    429: "64 requests are being answered and 9 wait: this one would not be answered in time; try again in 3 s.",
    500: "The facade failed; its log says how.",
    502: "Triton failed on the request.",
    503: "Triton is away, or is being started again; try again in a moment.",
    504: "No answer within 30 s, the wait for its turn included.",
}


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(default_factory=list, description="The fields at fault, if any.")
    error: OpenAIError | str | None = Field(
        None,
        description="Under `/v1`: the same as OpenAI's clients read it; where Hugging Face's ask: `detail` again.",
    )
    error_type: HubErrorType | None = Field(
        None, description="Where Hugging Face's clients ask alone: which kind text-embeddings-inference has for it."
    )


class ProblemResponse(Response):
    """A problem; below ``/v1`` with the member that OpenAI's clients show (RFC 9457 calls it an extension).

    Args:
        content: the problem.
        headers: of the response.
        code: what OpenAI's clients find as ``code``.
    """

    media_type = "application/problem+json"

    def __init__(self, content: Problem, headers: Mapping[str, str] | None = None, code: str | None = None) -> None:
        self.problem = content
        self.code = code
        super().__init__(orjson.dumps(content.model_dump(exclude_none=True)), content.status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        path = scope.get("path", "")
        # Its clients show an error's own member alone, also where they were given the wrong address.
        if (path.startswith(OPENAI_PATH) or path in OPENAI_ENDPOINTS) and self.problem.error is None:
            headers = {name: value for name, value in self.headers.items() if not name.startswith("content-")}
            await ProblemResponse(_as_openai(self.problem, self.code), headers)(scope, receive, send)
            return
        if path in HUB_PATHS and self.problem.error is None:
            headers = {name: value for name, value in self.headers.items() if not name.startswith("content-")}
            await ProblemResponse(as_the_hubs(self.problem), headers)(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _as_openai(given: Problem, code: str | None) -> Problem:
    """Return a problem with the status and the member by which OpenAI's clients tell errors apart."""
    unprocessable = given.status == HTTPStatus.UNPROCESSABLE_ENTITY
    status = 404 if code == MODEL_NOT_FOUND else 400 if unprocessable else given.status
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    param = "model" if code == MODEL_NOT_FOUND else given.errors[0].field if given.errors else None
    error = OpenAIError(message=given.detail, type=kind, param=param, code=code or OPENAI_CODES.get(status))
    return given.model_copy(update={"status": status, "title": HTTPStatus(status).phrase, "error": error})


def as_the_hubs(given: Problem) -> Problem:
    """Return a problem with the members that text-embeddings-inference's clients read."""
    kinds: dict[int, HubErrorType] = {429: "Overloaded", 503: "Unhealthy"}
    kind = kinds.get(given.status, "Backend" if given.status >= 500 else "Validation")
    return given.model_copy(update={"error": given.detail, "error_type": kind})


class InvalidRequestError(Exception):
    """Content of a request that is not accepted and that no schema describes, such as rows of a file.

    Attributes:
        fields: what is at fault.
        perhaps_more: whether the rest was not looked at.
    """

    def __init__(self, fields: Sequence[FieldProblem], *, perhaps_more: bool = False) -> None:
        super().__init__(f"{len(fields)} fields are not accepted")
        self.fields = list(fields)
        self.perhaps_more = perhaps_more


def refuse_options_in_query(request: Request) -> None:
    """Refuse options where nobody reads them.

    Raises:
        InvalidRequestError: the query has one.
    """
    if request.scope["query_string"] and (found := [name for name in OPTIONS if name in request.query_params]):
        detail = "is in the query, where it is not read; the body takes it"
        raise InvalidRequestError([FieldProblem(field=name, detail=detail) for name in found])


def problem(
    status: int,
    detail: str,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
) -> Response:
    """Return an error response."""
    return ProblemResponse(
        Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors)), headers, code
    )


def responses(*statuses: int, openai: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors an endpoint can answer with, each with an example of its own.

    Args:
        statuses: of the errors.
        openai: whether they are such as OpenAI's clients show.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": schema, "example": _example(status, openai=openai)}},
        }
        for status in statuses
    }


def _example(status: int, *, openai: bool) -> dict[str, Any]:
    field = FieldProblem(field="input" if openai else "sentence_1", detail=BLANK)
    detail, fields = DETAILS.get(status, f"{field.field}: {field.detail}"), [] if status in DETAILS else [field]
    found = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=fields)
    if openai:
        found = _as_openai(found, MODEL_NOT_FOUND if status == HTTPStatus.NOT_FOUND else None)
    return found.model_dump(exclude_none=True)


def install(app: FastAPI, retry_after: int) -> None:
    """Make every error of ``app`` a problem; tell clients to wait ``retry_after`` seconds when nobody knows better."""

    async def failed_upstream(request: Request, error: Exception) -> Response:
        return upstream(error, retry_after, request.state.call.naming)

    async def invalid(request: Request, error: Exception) -> Response:
        details = error.errors() if isinstance(error, RequestValidationError) else []
        if details and details[0]["type"] == "json_invalid":
            return problem(422, f"The body is not JSON: {details[0]['ctx']['error']} at byte {details[0]['loc'][-1]}.")
        return invalid_fields(field_problems(details))

    async def refused(request: Request, error: Exception) -> Response:
        if not isinstance(error, InvalidRequestError):
            raise error
        return invalid_fields(error.fields, "; the rest was not looked at" if error.perhaps_more else "")

    async def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if error.status_code == HTTPStatus.NOT_FOUND and request.url.path in OPENAI_ENDPOINTS:
            return problem(404, "OpenAI's clients need a base_url that ends in /v1; there is /v1/embeddings.")
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            accepted = (error.headers or {}).get("Allow", "another method")
            detail = f"{request.method} is not accepted here; accepted is {accepted}."
            return problem(405, NOT_SERVED.get(request.url.path, detail), headers=error.headers)
        if error.status_code == HTTPStatus.BAD_REQUEST and is_form(request):
            return problem(
                422,
                "The form cannot be read; accepted is multipart/form-data, with its boundary in the content-type and "
                "one file as `file`, as `curl -F file=@pairs.csv` sends it.",
            )
        if error.status_code == HTTPStatus.BAD_REQUEST:
            # What reads bodies says so of JSON nested too deeply and of numbers too long.
            return problem(422, f"The body cannot be read: {error.detail}")
        return problem(error.status_code, str(error.detail), headers=error.headers)

    app.add_exception_handler(TridentError, failed_upstream)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(InvalidRequestError, refused)


def upstream(error: Exception, retry_after: int, naming: Naming = whole_body) -> Response:
    """Return the answer to a request that Triton, or the queue before it, did not answer; see :func:`install`."""
    status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
    # A request that was refused for the work ahead of it knows better.
    seconds = error.retry_after if isinstance(error, RefusedError) else None
    when = str(retry_after if seconds is None else math.ceil(seconds))
    headers = {"Retry-After": when} if status in RETRIED else None
    code = MODEL_NOT_FOUND if isinstance(error, UnknownModelError) else None
    # What is refused is told in words of the facade and the client, which may be those of the request.
    detail = without_internals(str(error)) if status >= HTTPStatus.INTERNAL_SERVER_ERROR else str(error)
    return problem(status, detail, _places(error, naming), headers, code)


def is_form(request: Request) -> bool:
    """Say whether a request declares a form."""
    return request.headers.get("content-type", "").startswith("multipart/")


def _places(error: Exception, naming: Naming) -> list[FieldProblem]:
    """Return the field that the client, or Triton, says is bad, as the request's body calls it."""
    if not isinstance(error, BadInputError) or (error.index is None and error.field is None):
        return []
    field = error.field if error.index is None else naming(error.index, error.field)
    return [FieldProblem(field=str(field), detail=error.reason)]


def unexpected() -> Response:
    """Return the answer to a request on which the facade itself failed."""
    return problem(500, "The facade failed; its log says how.")


def invalid_fields(fields: Sequence[FieldProblem], end: str = "") -> Response:
    """Return the 422 that names fields, not more of them than somebody reads; ``end`` ends its text."""
    named = fields[:MAX_PROBLEMS]
    more = f"; and {len(fields) - MAX_PROBLEMS} more" if len(fields) > MAX_PROBLEMS else ""
    return problem(422, "; ".join(f"{each.field}: {each.detail}" for each in named) + more + end, named)


def field_problems(details: Sequence[Mapping[str, Any]], where: str = "") -> list[FieldProblem]:
    """Return pydantic's errors as fields, their paths below ``where``."""
    return [FieldProblem(field=where + _path(each["loc"]), detail=_explained(each)) for each in details]


def _explained(detail: Mapping[str, Any]) -> str:
    # What a validator raised is there as it is; the message has words of pydantic's in front of it.
    raised = detail.get("ctx", {}).get("error")
    message = str(raised if isinstance(raised, Exception) else detail["msg"])
    # Of a form with a text in the file's place.
    if message.startswith("Expected UploadFile"):
        return "must be an uploaded file with a name, as `curl -F file=@pairs.csv` sends it"
    return message


def _path(location: Sequence[int | str]) -> str:
    parts = [str(part) for part in location if part != "body" and not str(part).startswith(SHAPE_TAG)]
    return ".".join(parts) or "body"
