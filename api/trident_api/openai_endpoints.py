"""Embeddings as OpenAI's clients ask for them."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from starlette.exceptions import HTTPException
from trident_client import ModelInfo

from trident_api import problems
from trident_api.catalogue import Catalogue
from trident_api.endpoints import INFERENCE_ERRORS, call_and_inference
from trident_api.schemas import SHAPE_TAG, Sentence, Whole

#: As many as OpenAI takes.
MAX_INPUTS = 2048

router = APIRouter(prefix="/v1", tags=["OpenAI"])


class EmbeddingRequest(BaseModel):
    """Texts to embed. Fields beyond these, such as `user`, are ignored."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"model": "sts", "input": ["A man is playing a guitar.", "기타를 치는 남자"]}]},
    )

    input: Annotated[
        Annotated[Sentence, Tag(SHAPE_TAG + "text")]
        | Annotated[list[Sentence], Field(min_length=1, max_length=MAX_INPUTS), Tag(SHAPE_TAG + "texts")],
        Discriminator(lambda given: SHAPE_TAG + ("texts" if isinstance(given, list) else "text")),
    ] = Field(description="A text, or a list of texts; token ids are not accepted.")
    model: str = Field("sts", max_length=100, description="The set of models that embeds, as `/v1/models` lists them.")
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="Numbers, or little-endian float32 in base64."
    )
    dimensions: Whole | None = Field(
        None, ge=1, description="Keep the first so many components and make the vector's norm 1 again."
    )


class EmbeddingObject(BaseModel):
    """One embedding."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the encoder read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Embeddings, in the order given."""

    object: Literal["list"]
    data: list[EmbeddingObject]
    model: str
    usage: Usage


class ModelObject(BaseModel):
    """One set of models that embeds."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Always 0: Triton does not tell when a model was made.")
    owned_by: str = "trident"


class ModelList(BaseModel):
    """The sets of models that embed."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


@router.post("/embeddings", responses=INFERENCE_ERRORS, response_model=EmbeddingList)
async def create_embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """Embed texts; `usage` counts the tokens that the encoder read, specials included."""
    call, inference = call_and_inference(request)
    texts = [body.input] if isinstance(body.input, str) else body.input
    found = await inference.embed(call, texts, body.model)
    if body.dimensions is not None:
        found = _shorten(found, body.dimensions)
    # Past pydantic, which would look at every number.
    content = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _encode(each, body.encoding_format)}
            for index, each in enumerate(found)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": call.tokens, "total_tokens": call.tokens},
    }
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@router.get("/models", responses=problems.responses(429, 500, 502, 503, 504))
async def list_models(request: Request) -> ModelList:
    """List the sets of models that embed."""
    return ModelList(data=[ModelObject(id=each.name) for each in await _embedding_models(request)])


@router.get("/models/{model}", responses=problems.responses(404, 429, 500, 502, 503, 504))
async def retrieve_model(
    model: Annotated[str, Path(openapi_examples={"similarity": {"value": "sts"}})], request: Request
) -> ModelObject:
    """Describe one set of models that embeds."""
    names = [each.name for each in await _embedding_models(request)]
    if model not in names:
        raise HTTPException(404, f"No set of models of this name embeds; there are: {', '.join(names) or 'none'}.")
    return ModelObject(id=model)


async def _embedding_models(request: Request) -> list[ModelInfo]:
    catalogue: Catalogue = request.app.state.catalogue
    return [each for each in await catalogue.models() if each.task == "sts"]


def _shorten(embeddings: Any, dimensions: int) -> Any:
    """Return the first components of each row at unit norm: float32 ``[n, dimensions]``."""
    most = embeddings.shape[1]
    if dimensions > most:
        detail = f"must be at most {most}, the dimension of this model"
        raise problems.InvalidRequestError([problems.FieldProblem(field="dimensions", detail=detail)])
    kept = embeddings[:, :dimensions]
    norms = np.linalg.norm(kept, axis=1, keepdims=True)
    return np.ascontiguousarray(kept / np.where(norms > 0, norms, 1), dtype=np.float32)


def _encode(embedding: Any, form: str) -> Any:
    row = np.ascontiguousarray(embedding, dtype="<f4")
    return base64.b64encode(row.tobytes()).decode() if form == "base64" else row
