"""The requests and responses of the facade."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold at least one visible character")
    return text


Sentence = Annotated[str, AfterValidator(_not_empty)]

SHAPES = (frozenset({"sentence_1", "sentence_2"}),)
SHAPES_TEXT = " or ".join("{" + ", ".join(sorted(shape)) + "}" for shape in SHAPES)

EXAMPLE_PAIR: JsonDict = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}


class SentencePair(BaseModel):
    """Two sentences to compare."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_PAIR]})

    sentence_1: Sentence
    sentence_2: Sentence


class GenerateRequest(SentencePair):
    """Fields of exactly one of the accepted shapes."""

    model_config = ConfigDict(strict=True, extra="forbid", json_schema_extra={"examples": [EXAMPLE_PAIR]})

    @model_validator(mode="before")
    @classmethod
    def one_shape(cls, data: Any) -> Any:
        """Refuse a mixture of shapes, or none, with the list of them."""
        if not isinstance(data, dict) or frozenset(data) not in SHAPES:
            raise ValueError(f"the body must be a JSON object with exactly the fields {SHAPES_TEXT}")
        return data


class Similarity(BaseModel):
    """How similar two sentences are."""

    score: float = Field(description="Cosine of the two embeddings, -1 to 1.")
    pred: int = Field(description="1 when the score reaches the threshold of similarity, else 0.")


class PredictedPair(BaseModel):
    """The two sentences as given, with their similarity."""

    sentence_1: str
    sentence_2: str
    score: float = Field(description="Cosine of the two embeddings, -1 to 1.")
    pred: int = Field(description="1 when the score reaches the threshold of similarity, else 0.")
    runtime: float = Field(serialization_alias="runtime(sec)", description="Seconds the answer took.")


class Health(BaseModel):
    """State of the service."""

    status: str
