"""Embeddings as requests want them: so many components, in a format."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import Request
from trident_client import contract
from trident_client.encoding import encoded

from trident_api.catalogue import Catalogue
from trident_api.inference import Values
from trident_api.problems import FieldProblem, InvalidRequestError


async def check_dimensions(request: Request, model: str, dimensions: int | None) -> None:
    """Refuse a length of vectors that a set of models neither has nor was trained for.

    Raises:
        InvalidRequestError: says which it has.
    """
    if dimensions is None:
        return
    catalogue: Catalogue = request.app.state.catalogue
    info = await catalogue.find(model, contract.STS.name)
    accepted = sorted({*info.dimensions, *([] if info.dimension is None else [info.dimension])})
    if dimensions not in accepted:
        detail = (
            f"model '{model}' was not trained for vectors of {dimensions} components; accepted are "
            f"{', '.join(map(str, accepted)) or 'those of its own length'} (`dimensions` in its config.pbtxt)"
        )
        raise InvalidRequestError([FieldProblem(field="dimensions", detail=detail)])


def shaped(embeddings: Values, dimensions: int | None, encoding_format: str | None) -> Any:
    """Return embeddings, float32 ``[n, dim]``, as they are wanted: an array of as many rows, or a list of text.

    Args:
        embeddings: at unit norm.
        dimensions: so many of the first components, at unit norm again; all when None.
        encoding_format: as :data:`EncodingFormat`.
    """
    if dimensions is not None:
        embeddings = _shorten(embeddings, dimensions)
    if encoding_format == "base64":
        return [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in embeddings]
    form: Any = encoding_format or "float"
    return np.ascontiguousarray(encoded(embeddings, form))


def _shorten(embeddings: Values, dimensions: int) -> Values:
    """Return the first components of each row at unit norm: float32 ``[n, dimensions]``."""
    kept = embeddings[:, :dimensions]
    norms = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.ascontiguousarray(kept / np.where(norms > 0, norms, 1), dtype=np.float32)
