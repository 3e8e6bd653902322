"""The requests and responses of the facade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError
from trident_client import contract
from trident_client.text import is_blank


def _of_at_most(most: int) -> AfterValidator:
    def check(text: str) -> str:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise ValueError("holds a lone surrogate, which is not a character") from None
        if is_blank(text):
            raise ValueError("must hold at least one visible character")
        if size > most:
            raise ValueError(f"has {size} bytes; at most {most} are accepted")
        return text

    return AfterValidator(check)


_VISIBLE = Field(json_schema_extra={"minLength": 1, "pattern": r"\S"})
Sentence = Annotated[str, _of_at_most(contract.MAX_TEXT_BYTES), _VISIBLE]
QuestionText = Annotated[str, _of_at_most(contract.MAX_QUESTION_BYTES), _VISIBLE]


def _whole(value: Any) -> Any:
    # To JSON and its schemas, 3.0 is an integer.
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, WHOLE]

# Begins the tags that tell shapes apart; they stand in the location of an error and are no field.
SHAPE_TAG = "shape:"

#: As many texts, or texts' token ids, as OpenAI takes.
MAX_INPUTS = 2048
#: Of half a million numbers, one that is no number is told of, and no more.
_Ids = Annotated[list[int], Field(min_length=1, fail_fast=True)]


def _row_or_rows(given: Any) -> str:
    return SHAPE_TAG + ("rows" if isinstance(given, list) and given and isinstance(given[0], list) else "row")


#: A text's token ids, or those of each of several.
TokenIds = Annotated[
    Annotated[_Ids, Tag(SHAPE_TAG + "row")]
    | Annotated[list[_Ids], Field(min_length=1, max_length=MAX_INPUTS, fail_fast=True), Tag(SHAPE_TAG + "rows")],
    Discriminator(_row_or_rows),
]


def rows_of(ids: list[int] | list[list[int]]) -> list[list[int]]:
    """Return token ids as a list for each text."""
    rows = [each for each in ids if isinstance(each, list)]
    return rows or [[each for each in ids if isinstance(each, int)]]


EXAMPLE_PASSAGE: JsonDict = {"passage": "I are a boy"}
EXAMPLE_QUESTION: JsonDict = {
    "question": "Where does the Danube rise?",
    "context": "The Danube rises in the Black Forest and flows into the Black Sea.",
}
EXAMPLE_KOREAN_QUESTION: JsonDict = {
    "question": "한강은 어디에서 시작하는가?",
    "context": "한강은 강원도 태백시 금대봉 검룡소에서 시작하여 서울을 지나 황해로 흘러든다.",
    "model": "qa_ko",
}
EXAMPLE_PAIR: JsonDict = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}
EXAMPLE_UNRELATED: JsonDict = {"sentence_1": "A man is playing a guitar.", "sentence_2": "The stock market fell."}


def _model(default: str | None) -> Any:
    return Field(default, max_length=100, description="The set of models that answers, as `/models` lists them.")


_ANSWER_TOKENS = Field(
    contract.DEFAULT_ANSWER_TOKENS,
    ge=1,
    le=contract.MAX_ANSWER_TOKENS,
    description="Tokens in the longest answer.",
)
_NO_ANSWER = Field(
    True, description="Whether a model that was taught so may say, by an empty answer, that there is none."
)


#: What changes the answers of some requests; to one that does not take it, it is no field to ignore.
OPTIONS = ("dimensions", "encoding_format", "input_type", "prompt_name", "truncate", "truncation_direction")


class Body(BaseModel):
    """A request's, which takes the options that it has and refuses those of others."""

    @model_validator(mode="before")
    @classmethod
    def _takes_its_own_options(cls, given: Any) -> Any:
        fields = cls.model_fields
        foreign = [name for name in OPTIONS if isinstance(given, dict) and given.get(name) is not None]
        foreign = [name for name in foreign if name not in fields]
        if foreign:
            own = ", ".join(name for name, field in fields.items() if not field.is_required())
            message = f"is no option of this request; accepted are {own}"
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    InitErrorDetails(type=PydanticCustomError("option", message), loc=(name,), input=given[name])
                    for name in foreign
                ],
            )
        return given


class Pair(BaseModel):
    """Two sentences."""

    model_config = ConfigDict(strict=True)

    sentence_1: Sentence
    sentence_2: Sentence


PromptName = Annotated[
    str | None,
    Field(max_length=100, description="Which prompt of the set, as `/models` lists them, stands in front of a text."),
]
InputType = Annotated[
    contract.InputType | None,
    Field(
        description="What the texts are, in place of `prompt_name`, for a set with a prompt for such; others take all "
        "texts alike."
    ),
]
#: What becomes of a text that is too long: it loses its end or its beginning, or is refused.
Truncation = Literal["right", "left", "error"]
Truncate = Annotated[
    Truncation,
    Field(
        description="Which end a text loses that is longer than the model takes; `error` refuses it, once it is read."
    ),
]


OthersTruncate = Annotated[
    Literal["right", "left", "error", "END", "START", "NONE", True, False] | None,
    Field(
        description="Which end a text loses that is longer than the model takes, or `error`. `END`, `START` and "
        "`NONE`, as NIM has it, are the same, and `true` and `false` mean `right` and `error`."
    ),
]
_OTHERS_WORDS: Mapping[str, Truncation] = {
    "right": "right", "left": "left", "error": "error", "END": "right", "START": "left", "NONE": "error",
}  # fmt: skip


def truncation_of(given: str | bool | None) -> Truncation:
    """Return what :data:`OthersTruncate` says; the end is lost where it says nothing."""
    if isinstance(given, str):
        return _OTHERS_WORDS[given]
    return "error" if given is False else "right"


EncodingFormat = Annotated[
    Literal["float", "base64", "int8", "binary", "ubinary"] | None,
    Field(
        description="Numbers, by default; little-endian float32 in base64; whole numbers, the greatest 127 in "
        "size; or the components' signs, eight a number, from -128 or, with `ubinary`, from 0 on. Not OpenAI's are the "
        "last three: cosines of `int8` are nearly the same, and of signs the Hamming distance tells.",
    ),
]
Dimensions = Annotated[
    Whole | None,
    Field(
        ge=1,
        description="Keep the first so many components and make the vector's norm 1 again; only such as `/models` "
        "names as the set's `dimensions`, for which it was trained.",
    ),
]


class Cutting(Body):
    """What becomes of texts that are too long."""

    truncate: Truncate = "right"

    @property
    def truncation(self) -> Truncation:
        """The same; other requests have other words for it."""
        return self.truncate


class Reading(Cutting):
    """How an encoder reads texts."""

    prompt_name: PromptName = None
    input_type: InputType = None


class SentencePair(Reading):
    """Two sentences to compare."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_PAIR]})

    sentence_1: Sentence
    sentence_2: Sentence
    model: str = _model(contract.STS.name)


class Passage(Cutting):
    """A sentence to judge."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_PASSAGE]})

    passage: Sentence
    model: str = _model(contract.COLA.name)


class Sentences(Cutting):
    """Sentences to judge."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"sentences": ["I am a boy", "I are a boy"]}]}
    )

    sentences: list[Sentence] = Field(max_length=contract.COLA.main.max_items)
    model: str = _model(contract.COLA.name)


class SentencePairs(Reading):
    """Pairs of sentences to compare."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"pairs": [EXAMPLE_PAIR, EXAMPLE_UNRELATED]}]}
    )

    pairs: list[Pair] = Field(max_length=contract.STS.main.max_items)
    model: str = _model(contract.STS.name)


class Texts(Reading):
    """Sentences to embed."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"sentences": ["A man is playing a guitar.", "Someone plays an instrument."]}]},
    )

    sentences: list[Sentence] = Field(max_length=contract.EMBED.max_items)
    model: str = _model(contract.STS.name)
    encoding_format: EncodingFormat = None
    dimensions: Dimensions = None


class QuestionItem(BaseModel):
    """A question, and the text that holds its answer."""

    model_config = ConfigDict(strict=True)

    question: QuestionText
    context: Sentence


class Question(Body):
    """A question, and the text that holds its answer."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE_QUESTION]})

    question: QuestionText
    context: Sentence
    top_k: Whole = Field(1, ge=1, le=contract.MAX_ANSWERS, description="Answers wanted; more than one come as a list.")
    max_answer_tokens: Whole = _ANSWER_TOKENS
    no_answer: bool = _NO_ANSWER
    model: str = _model(contract.QA.name)


class Questions(Body):
    """Questions, each with the text that holds its answer."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"questions": [EXAMPLE_QUESTION], "top_k": 3}]}
    )

    questions: list[QuestionItem] = Field(max_length=contract.QA.main.max_items)
    top_k: Whole = Field(1, ge=1, le=contract.MAX_ANSWERS, description="Answers wanted to each question.")
    max_answer_tokens: Whole = _ANSWER_TOKENS
    no_answer: bool = _NO_ANSWER
    model: str = _model(contract.QA.name)


def _shape_of(body: Any) -> str | None:
    """Return the tag of the shape that has all its fields and no foreign one."""
    given = body.keys() if isinstance(body, dict) else set()
    return next(
        (tag for tag, shape in SHAPES.items() if {*_required(shape)} <= given <= shape.model_fields.keys()), None
    )


def _required(shape: type[BaseModel]) -> list[str]:
    return [name for name, field in shape.model_fields.items() if field.is_required()]


SHAPES: dict[str, type[BaseModel]] = {
    SHAPE_TAG + "passage": Passage,
    SHAPE_TAG + "pair": SentencePair,
    SHAPE_TAG + "question": Question,
}
GenerateRequest = Annotated[
    Annotated[Passage, Tag(SHAPE_TAG + "passage")]
    | Annotated[SentencePair, Tag(SHAPE_TAG + "pair")]
    | Annotated[Question, Tag(SHAPE_TAG + "question")],
    Discriminator(
        _shape_of,
        custom_error_type="shape",
        custom_error_message="the body must be a JSON object with exactly the fields "
        + " or ".join("{" + ", ".join(_required(shape)) + "}" for shape in SHAPES.values())
        + "; any may come with model, a question with top_k, max_answer_tokens and no_answer, the others with "
        "truncate, and two sentences with prompt_name or input_type",
    ),
]
"""The fields of exactly one task."""


class Predictions(Cutting):
    """Items for a task of any kind."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"items": ["I are a boy"]}]})

    items: list[str | dict[str, str]] = Field(
        description="A text each, or an object with a text for each column where the task takes several."
    )
    numbers: dict[str, Whole] = Field({}, description="Further inputs of the task, such as `top_k`.")
    model: str | None = _model(None)


class Predicted(BaseModel):
    """What was said of each item, in the order given."""

    results: list[dict[str, Any]] = Field(description="The answer's fields and their values, for each item.")


class Probability(BaseModel):
    """How likely a sentence is acceptable."""

    prob: float = Field(description="Probability that the sentence is grammatically acceptable, 0 to 1.")


class Probabilities(BaseModel):
    """How likely each sentence is acceptable, in the order given."""

    probs: list[float] = Field(description="Probabilities that the sentences are grammatically acceptable, 0 to 1.")


class Similarity(BaseModel):
    """How similar two sentences are."""

    score: float = Field(description="Cosine of the two embeddings, -1 to 1.")
    pred: int = Field(description="1 when the score reaches the threshold of similarity, else 0.")


class Similarities(BaseModel):
    """How similar the sentences of each pair are, in the order given."""

    scores: list[float] = Field(description="Cosines of the two embeddings, -1 to 1.")
    preds: list[int] = Field(description="1 where the score reaches the threshold of similarity, else 0.")


class Embeddings(BaseModel):
    """Embeddings, in the order given."""

    embeddings: list[list[float] | str] = Field(description="One vector of unit norm a sentence, in the format asked.")


class Answer(BaseModel):
    """A span of the context that answers the question; an empty one at 0 where there is no answer."""

    answer: str = Field(description="The span's text: context[start:end].")
    score: float = Field(description="Probability of being the answer, 0 to 1, among all spans of the context.")
    start: int = Field(description="Where the span begins, in characters (Unicode code points).")
    end: int = Field(description="Where it ends, in characters.")


class Answers(BaseModel):
    """Each question's answers, in the order given."""

    answers: list[list[Answer]] = Field(description="One list a question, the likeliest answer first.")


class PredictedPair(BaseModel):
    """The two sentences as given, with their similarity."""

    sentence_1: str
    sentence_2: str
    score: float = Field(description="Cosine of the two embeddings, -1 to 1.")
    pred: int = Field(description="1 when the score reaches the threshold of similarity, else 0.")
    runtime: float = Field(serialization_alias="runtime(sec)", description="Seconds the answer took.")


class Model(BaseModel):
    """One set of models that is served."""

    name: str = Field(description="What to give as `model`.")
    task: str = Field(description="`cola`, `sts`, `qa`, `classify` or `rerank`.")
    languages: list[str] = Field(description="BCP 47 tags; empty where it was not said.")
    dimension: int | None = Field(description="Numbers in an embedding; null for a task without.")
    dimensions: list[int] = Field(description="Shorter vectors that its embeddings were trained for.")
    prompts: dict[str, str] = Field(description="What may stand in front of a text, by name.")
    default_prompt_name: str = Field(description="Which of them does where none is named; empty for none.")
    threshold: float | None = Field(
        description="Score from which `pred` is 1, a sentence is acceptable, or a text has a label beside others: the "
        "operator's, the set's own, or what its task has; null where there is none."
    )
    labels: list[str] = Field(description="What a text may be called, in the order of the model's scores.")
    max_tokens: int | None = Field(description="Tokens that are read of a text, or of a window; null if not said.")
    vocabulary: int | None = Field(description="How many token ids its tokenizer has, from 0 on; null if not said.")
    metrics: dict[str, float] = Field(description="What it scored when it was made.")
    export: dict[str, Any] = Field(
        description="`dtype`, `parity` with the plain model and `speed` on the machine that exported it; "
        "empty where Triton does not tell them."
    )


class Models(BaseModel):
    """The sets of models that are served."""

    models: list[Model]


class Health(BaseModel):
    """State of the service."""

    status: str
