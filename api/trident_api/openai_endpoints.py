"""Embeddings as OpenAI's clients ask for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag
from trident_client import ModelInfo, contract

from trident_api import problems, tokens, vectors
from trident_api.call import Call, listed_texts, one_text
from trident_api.catalogue import Catalogue, UnknownModelError
from trident_api.inference import Inference, Values
from trident_api.schemas import (
    MAX_INPUTS,
    SHAPE_TAG,
    Body,
    Dimensions,
    EncodingFormat,
    InputType,
    OthersTruncate,
    PromptName,
    Sentence,
    TokenIds,
    Truncation,
    rows_of,
    truncation_of,
)

#: Paths that take many texts.
LISTS = ("/v1/embeddings",)
#: What is not accepted is a 400 to OpenAI's clients, and an unknown model a 404.
OPENAI_ERRORS = problems.responses(400, 404, 413, 415, 429, 500, 502, 503, 504, openai=True)

router = APIRouter(prefix="/v1", tags=["OpenAI"])


def _no_token_ids(given: Any) -> Any:
    first = given[0] if isinstance(given, list) and given else None
    if isinstance(first, list) and first:
        first = first[0]
    if isinstance(first, int):
        raise ValueError(
            "holds token ids, which may be of another model's vocabulary; texts are accepted, and ids of the model's "
            "own beside `model_token_ids: true`. LangChain sends texts with "
            "OpenAIEmbeddings(..., check_embedding_ctx_length=False)"
        )
    return given


def _one_or_more(given: Any) -> str:
    return SHAPE_TAG + ("texts" if isinstance(given, list) else "text")


class EmbeddingOptions(Body):
    """What is said beside the input. Fields beyond these, such as `user`, are ignored."""

    model_config = ConfigDict(strict=True)

    # As in all of OpenAI's requests, null is as good as absent.
    model: str | None = Field(
        None, max_length=100, description="The set of models that embeds, as `/v1/models` lists them; `sts` by default."
    )
    encoding_format: EncodingFormat = None
    input_type: InputType = None
    prompt_name: PromptName = None
    truncate: OthersTruncate = None
    dimensions: Dimensions = None

    @property
    def truncation(self) -> Truncation:
        """What becomes of a text that is too long."""
        return truncation_of(self.truncate)


class EmbeddingRequest(EmbeddingOptions):
    """Texts to embed. Fields beyond these, such as `user`, are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "sts", "input": ["A man is playing a guitar.", "기타를 치는 남자"]}]},
    )

    input: Annotated[
        Annotated[
            Annotated[Sentence, Tag(SHAPE_TAG + "text")]
            | Annotated[list[Sentence], Field(min_length=1, max_length=MAX_INPUTS), Tag(SHAPE_TAG + "texts")],
            Discriminator(_one_or_more),
        ],
        BeforeValidator(_no_token_ids),
    ] = Field(description="A text, or a list of texts.")
    model_token_ids: Literal[False] | None = Field(None, description="Whether `input` holds token ids of the model's.")

    async def embed(self, inference: Inference, call: Call, model: str) -> Values:
        """Return the embeddings: float32 ``[n, dim]``."""
        call.naming = one_text("input") if isinstance(self.input, str) else listed_texts("input")
        texts = [self.input] if isinstance(self.input, str) else self.input
        found = await inference.embed(
            call,
            texts,
            model,
            prompt_name=self.prompt_name,
            input_type=self.input_type,
            truncate_left=self.truncation == "left",
        )
        call.refuse_truncated(self)
        return found


class TokenIdsRequest(EmbeddingOptions):
    """Token ids to embed, which go to the encoder as they are."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": [101, 1037, 2158, 102], "model_token_ids": True}]}
    )

    input: TokenIds = Field(
        description="A text's token ids, or a list of such lists; with those that frame a text, as `/tokenize` has."
    )
    model_token_ids: Literal[True] = Field(description="Says that the ids are of the tokenizer of `model`.")
    input_type: None = Field(None, description="A prompt's ids stand in front of the text's.")
    prompt_name: None = Field(None, description="A prompt's ids stand in front of the text's.")
    truncate: Literal["error", "NONE", False] | None = Field(None, description="Ids are never cut.")

    async def embed(self, inference: Inference, call: Call, model: str) -> Values:
        """Return the embeddings: float32 ``[n, dim]``."""
        rows = rows_of(self.input)
        field = "input.{}" if isinstance(self.input[0], list) else "input"
        return await tokens.embed(inference, call, rows, model, field)


def _what_is_embedded(body: Any) -> str:
    return SHAPE_TAG + ("ids" if isinstance(body, dict) and body.get("model_token_ids") is True else "words")


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


@router.post("/embeddings", responses=OPENAI_ERRORS, response_model=EmbeddingList)
async def create_embeddings(
    body: Annotated[
        Annotated[EmbeddingRequest, Tag(SHAPE_TAG + "words")] | Annotated[TokenIdsRequest, Tag(SHAPE_TAG + "ids")],
        Discriminator(_what_is_embedded),
    ],
    request: Request,
) -> Response:
    """Embed texts, or token ids of the model's own; `usage` counts those that the encoder read, specials included."""
    problems.refuse_options_in_query(request)
    call, inference = request.state.call, request.app.state.inference
    model = contract.STS.name if body.model is None else body.model
    await vectors.check_dimensions(request, model, body.dimensions)
    found = vectors.shaped(await body.embed(inference, call, model), body.dimensions, body.encoding_format)
    # Past pydantic, which would look at every number.
    content = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(found)],
        "model": model,
        "usage": {"prompt_tokens": call.tokens, "total_tokens": call.tokens},
    }
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


@router.get("/models", responses=problems.responses(429, 500, 502, 503, 504, openai=True))
async def list_models(request: Request) -> ModelList:
    """List the sets of models that embed."""
    return ModelList(data=[ModelObject(id=each.name) for each in await _embedding_models(request)])


@router.get("/models/{model}", responses=problems.responses(404, 429, 500, 502, 503, 504, openai=True))
async def retrieve_model(
    model: Annotated[str, Path(openapi_examples={"similarity": {"value": "sts"}})], request: Request
) -> ModelObject:
    """Describe one set of models that embeds."""
    names = [each.name for each in await _embedding_models(request)]
    if model not in names:
        raise UnknownModelError(f"No set of models of this name embeds; there are: {', '.join(names) or 'none'}.")
    return ModelObject(id=model)


async def _embedding_models(request: Request) -> list[ModelInfo]:
    catalogue: Catalogue = request.app.state.catalogue
    return [each for each in await catalogue.models() if each.task == "sts"]
