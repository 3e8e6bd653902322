"""Every error as one JSON shape: RFC 9457, ``application/problem+json``.

The table below is the one place where the client's errors become HTTP statuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from trident_client import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TransportError,
    TridentError,
)

from trident_api.schemas import SHAPE_TAG

STATUSES: Mapping[type[TridentError], int] = {
    BadInputError: 422,
    NotReadyError: 503,
    OverloadedError: 503,
    TransportError: 503,
    DeadlineError: 504,
    ServerError: 502,
}


class FieldProblem(BaseModel):
    """One field of the request that was not accepted."""

    field: str = Field(description="Where, such as `sentence_1`.")
    detail: str = Field(description="What is accepted.")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(default_factory=list, description="The fields at fault, if any.")


def problem(
    status: int, detail: str, errors: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error response."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    return Response(orjson.dumps(body.model_dump()), status, headers, media_type="application/problem+json")


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors an endpoint can answer with."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install(app: FastAPI, retry_after: int) -> None:
    """Make every error of ``app`` a problem; tell clients to wait ``retry_after`` seconds when Triton is away."""

    def failed_upstream(request: Request, error: Exception) -> Response:
        status = next(status for kind, status in STATUSES.items() if isinstance(error, kind))
        headers = {"Retry-After": str(retry_after)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return problem(status, str(error), headers=headers)

    def invalid(request: Request, error: Exception) -> Response:
        details = error.errors() if isinstance(error, RequestValidationError) else []
        if details and details[0]["type"] == "json_invalid":
            return problem(422, f"The body is not JSON: {details[0]['ctx']['error']} at byte {details[0]['loc'][-1]}.")
        fields = [
            FieldProblem(field=_path(each["loc"]), detail=each["msg"].removeprefix("Value error, ")) for each in details
        ]
        return problem(422, "; ".join(f"{each.field}: {each.detail}" for each in fields), fields)

    def http_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        return problem(error.status_code, str(error.detail), headers=error.headers)

    def unexpected(request: Request, error: Exception) -> Response:
        return problem(500, "The facade failed; its log says how.")

    app.add_exception_handler(TridentError, failed_upstream)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


def _path(location: Sequence[int | str]) -> str:
    parts = [str(part) for part in location if part != "body" and not str(part).startswith(SHAPE_TAG)]
    return ".".join(parts) or "body"
