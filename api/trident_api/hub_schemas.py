"""Requests and responses as Hugging Face's clients and text-embeddings-inference (TEI) have them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from trident_client import contract

from trident_api.problems import FieldProblem, InvalidRequestError
from trident_api.schemas import (
    EXAMPLE_QUESTION,
    SHAPE_TAG,
    WHOLE,
    Body,
    Dimensions,
    EncodingFormat,
    InputType,
    OthersTruncate,
    PromptName,
    Question,
    Questions,
    QuestionText,
    Sentence,
    SentencePairs,
    Texts,
    TokenIds,
    Truncation,
    truncation_of,
)

MAX_ITEMS = contract.EMBED.max_items
TEXTS: list[Any] = ["A man is playing a guitar.", "Someone plays an instrument."]
Model = Annotated[str | None, Field(max_length=100, description="The set of models; the task's own by default.")]


Direction = Literal["right", "Right", "left", "Left"]


class HubReading(Body):
    """How texts are read, as TEI's requests say it; null is as good as absent."""

    model_config = ConfigDict(strict=True)

    truncate: bool | None = Field(
        None,
        description="`false` refuses a text that is longer than the model takes, once it has read it; else one of its "
        "ends is ignored.",
    )
    truncation_direction: Direction | None = Field(
        None, description="Which end that is; the right one by default. With the left one its prompt is ignored, too."
    )
    prompt_name: PromptName = None
    input_type: InputType = None

    @property
    def truncation(self) -> Truncation:
        """What becomes of a text that is too long."""
        if self.truncate is False:
            return "error"
        return "left" if (self.truncation_direction or "").lower() == "left" else "right"


class HubOptions(HubReading):
    """What TEI's requests may say beside their inputs."""

    model: Model = None
    normalize: bool | None = Field(
        None, description="Vectors have unit norm either way, which the models' own last step gives them."
    )


def _one_or_more(given: Any) -> str:
    return SHAPE_TAG + ("texts" if isinstance(given, list) else "text")


OneOrMore = Annotated[
    Annotated[Sentence, Tag(SHAPE_TAG + "text")]
    | Annotated[list[Sentence], Field(min_length=1, max_length=MAX_ITEMS), Tag(SHAPE_TAG + "texts")],
    Discriminator(_one_or_more),
]


class HubTexts(HubOptions):
    """A text or a list of texts."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": TEXTS}]})

    inputs: OneOrMore = Field(description="A text, or a list of texts; token ids are not accepted.")
    encoding_format: EncodingFormat = None
    dimensions: Dimensions = None

    @property
    def texts(self) -> list[str]:
        """The texts as a list."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


def _text_or_more(given: Any) -> str:
    return SHAPE_TAG + ("texts" if isinstance(given, list) else "text")


TextOrPair = Annotated[
    Annotated[Sentence, Tag(SHAPE_TAG + "text")]
    | Annotated[list[Sentence], Field(min_length=1, max_length=2), Tag(SHAPE_TAG + "texts")],
    Discriminator(_text_or_more),
]


class HubClassifying(BaseModel):
    """What the hub's clients may say beside a text; what else they say is ignored."""

    model_config = ConfigDict(strict=True)

    top_k: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="So many of the likeliest labels.")


class HubJudged(HubOptions):
    """Texts, or pairs of them, to classify."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"inputs": TEXTS[0]}, {"inputs": [[TEXTS[0]], TEXTS]}]})

    prompt_name: None = Field(None, description="What judges has no prompts.")
    input_type: None = Field(None, description="What judges has no prompts.")
    inputs: Annotated[
        Annotated[Sentence, Tag(SHAPE_TAG + "text")]
        | Annotated[list[TextOrPair], Field(min_length=1, max_length=MAX_ITEMS), Tag(SHAPE_TAG + "texts")],
        Discriminator(_text_or_more),
    ] = Field(description="A text, or a list of texts, or of lists of one text or two.")
    raw_scores: bool | None = Field(None, description="Logits in place of probabilities.")
    parameters: HubClassifying | None = Field(
        None, description="As the hub's clients send it; an answer to it has the hub's shape."
    )

    def items(self, *, pairs: bool) -> tuple[bool, list[Any]]:
        """Return whether there is one item alone, and the items: texts, and tuples of two.

        Args:
            pairs: whether a list of one text or two is one item, as it is for a model that takes pairs.

        Raises:
            InvalidRequestError: such a list has more texts, or there is a pair for a model that takes none.
        """
        given: list[Any] = [self.inputs] if isinstance(self.inputs, str) else self.inputs
        two = next((place for place, each in enumerate(given) if not isinstance(each, str) and len(each) > 1), None)
        if two is not None and not pairs:
            raise InvalidRequestError([FieldProblem(field=f"inputs.{two}", detail="the model takes one text, no pair")])
        alone = pairs and not isinstance(self.inputs, str) and all(isinstance(each, str) for each in given)
        if alone and len(given) > 2:
            detail = "a list of texts is one item of one or two; [[text], [text, text], ...] are several"
            raise InvalidRequestError([FieldProblem(field="inputs", detail=detail)])
        rows = [given] if alone else [[each] if isinstance(each, str) else each for each in given]
        items = [row[0] if len(row) == 1 else tuple(row) for row in rows]
        return alone or isinstance(self.inputs, str), items


class SourceAndSentences(BaseModel):
    """A sentence, and those that it is compared with."""

    model_config = ConfigDict(strict=True)

    source_sentence: Sentence
    sentences: list[Sentence] = Field(min_length=1, max_length=MAX_ITEMS - 1)


class HubSimilarity(HubOptions):
    """A sentence, and those that it is compared with."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"inputs": {"source_sentence": TEXTS[0], "sentences": TEXTS[1:]}}]}
    )

    inputs: SourceAndSentences
    parameters: HubReading | None = Field(
        None, description="The same as beside it, as TEI has it; what is said here holds."
    )

    @property
    def reading(self) -> HubReading:
        """How the texts are read."""
        said = self.parameters.model_dump(exclude_none=True) if self.parameters else {}
        return self.model_copy(update=said)


class QuestionAndContext(BaseModel):
    """A question, and the text that holds its answer."""

    model_config = ConfigDict(strict=True)

    question: QuestionText
    context: Sentence


class HubAnswering(BaseModel):
    """How a question is answered; what else the hub's clients may say says how windows are cut, and is ignored."""

    model_config = ConfigDict(strict=True)

    top_k: Annotated[int, Field(ge=1, le=contract.MAX_ANSWERS), WHOLE] | None = None
    max_answer_len: Annotated[int, Field(ge=1, le=contract.MAX_ANSWER_TOKENS), WHOLE] | None = None
    handle_impossible_answer: bool | None = None


class HubQuestion(Body):
    """A question, and the text that holds its answer."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"inputs": EXAMPLE_QUESTION}]})

    inputs: QuestionAndContext
    parameters: HubAnswering | None = None
    model: Model = None


class HubRerank(HubOptions):
    """A query, and texts to put in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"query": TEXTS[0], "texts": TEXTS[1:]}]})

    prompt_name: None = Field(None, description="A set with prompts for queries and for passages has them in front.")
    input_type: None = Field(None, description="The query is one, and the texts are passages.")
    query: Sentence
    texts: list[Sentence] = Field(min_length=1, max_length=MAX_ITEMS - 1)
    raw_scores: bool | None = Field(None, description="Logits of a cross-encoder; cosines stay what they are.")
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="So many of the best; all by default.")
    return_text: bool | None = Field(None, description="Whether each text is in the answer.")


class Tokenize(Body):
    """A text or a list of texts to part into tokens."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"inputs": TEXTS}]})

    inputs: OneOrMore = Field(description="A text, or a list of texts.")
    model: Annotated[str | None, Field(max_length=100, description="The set of models; `sts` by default.")] = None
    add_special_tokens: bool | None = Field(None, description="`false` leaves out those that frame a text.")
    prompt_name: PromptName = None

    @property
    def texts(self) -> list[str]:
        """The texts as a list."""
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs


class Decode(Body):
    """Token ids to turn into text again."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [{"ids": [101, 1037, 4937, 102]}]})

    ids: TokenIds = Field(description="A text's token ids of the model's own tokenizer, or a list of such lists.")
    model: Annotated[str | None, Field(max_length=100, description="The set of models; `sts` by default.")] = None
    skip_special_tokens: bool | None = Field(None, description="`false` keeps those that frame a text.")


class Token(BaseModel):
    """One token of a text."""

    id: int
    text: str = Field(description="What stands there in the text; of special tokens and of a prompt's, the token.")
    special: bool
    start: int | None = Field(description="Its first character, from 0 on; null for special tokens and a prompt's.")
    stop: int | None = Field(description="The character behind its last one.")


class Document(BaseModel):
    """A text."""

    model_config = ConfigDict(strict=True)

    text: Sentence


def _text_or_document(given: Any) -> str:
    return SHAPE_TAG + ("document" if isinstance(given, dict | Document) else "text")


class Rerank(Body):
    """A query, and documents to put in order, as Cohere's and Jina's clients ask."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"query": TEXTS[0], "documents": TEXTS[1:]}]}
    )

    query: Sentence
    documents: list[
        Annotated[
            Annotated[Sentence, Tag(SHAPE_TAG + "text")] | Annotated[Document, Tag(SHAPE_TAG + "document")],
            Discriminator(_text_or_document),
        ]
    ] = Field(min_length=1, max_length=MAX_ITEMS - 1)
    model: Model = None
    top_n: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="So many of the best; all by default.")
    return_documents: bool | None = Field(None, description="Whether each document is in the answer.")
    truncate: OthersTruncate = None

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [each if isinstance(each, str) else each.text for each in self.documents]

    @property
    def truncation(self) -> Truncation:
        """What becomes of a query and a document that are too long."""
        return truncation_of(self.truncate)


class Ranked(BaseModel):
    """One text's place in the list given, and its score."""

    index: int
    score: float = Field(description="How well it answers, 0 to 1; or the cosine of both embeddings, -1 to 1.")
    text: str | None = None


class RankedDocument(BaseModel):
    """One document's place in the list given, and its score."""

    index: int
    relevance_score: float = Field(description="As `score` of `/rerank`.")
    document: Document | None = None


class Tokens(BaseModel):
    """Tokens that the encoder read."""

    total_tokens: int


class RankedDocuments(BaseModel):
    """Documents, the best first."""

    id: str
    model: str
    results: list[RankedDocument]
    usage: Tokens


class Label(BaseModel):
    """A label, and its probability or logit."""

    label: str
    score: float


class Info(BaseModel):
    """What TEI's clients ask a server about itself."""

    model_id: str = Field(description="The set of models that embeds where none is named.")
    model_dtype: str = Field(description="What it computes in; `unknown` where Triton does not tell it.")
    model_type: dict[str, dict[str, str]] = Field(
        {"embedding": {"pooling": "unknown"}}, description="What it is for; Triton does not tell how it pools."
    )
    max_concurrent_requests: int
    max_input_length: int = Field(description="Tokens of a text that it reads.")
    max_batch_tokens: int = Field(description="Tokens of a batch, at most.")
    max_batch_requests: int = Field(contract.MAX_BATCH, description="Texts of a batch, at most.")
    max_client_batch_size: int = Field(MAX_ITEMS, description="Texts of a request.")
    auto_truncate: bool = Field(True, description="A text's end that the model does not take is ignored.")
    tokenization_workers: int = Field(
        1, description="Tokenizers of the set; all that its requests hold is tokenized together."
    )
    version: str = Field(description="Of this facade.")


def _either(own: str, tag: str) -> Discriminator:
    """Tell a body of this facade's own shape from one with ``inputs``."""

    def tell(body: Any) -> str:
        return SHAPE_TAG + (tag if isinstance(body, dict) and "inputs" in body else own)

    return Discriminator(tell)


EmbedRequest = Annotated[
    Annotated[Texts, Tag(SHAPE_TAG + "sentences")] | Annotated[HubTexts, Tag(SHAPE_TAG + "inputs")],
    _either("sentences", "inputs"),
]
"""This facade's own body, or TEI's."""

SimilarityRequest = Annotated[
    Annotated[SentencePairs, Tag(SHAPE_TAG + "pairs")] | Annotated[HubSimilarity, Tag(SHAPE_TAG + "inputs")],
    _either("pairs", "inputs"),
]
"""This facade's own body, or TEI's."""


def _question_shape(body: Any) -> str:
    given = body if isinstance(body, dict) else {}
    return SHAPE_TAG + next((each for each in ("inputs", "questions") if each in given), "question")


QuestionRequest = Annotated[
    Annotated[Question, Tag(SHAPE_TAG + "question")]
    | Annotated[Questions, Tag(SHAPE_TAG + "questions")]
    | Annotated[HubQuestion, Tag(SHAPE_TAG + "inputs")],
    Discriminator(_question_shape),
]
"""One question, a list of them, or one as the hub's clients ask it."""


def _task_of(body: Any) -> str:
    inputs = body.get("inputs") if isinstance(body, dict) else None
    keys = inputs.keys() if isinstance(inputs, dict) else ()
    return SHAPE_TAG + ("question" if "question" in keys else "similarity" if "sentences" in keys else "texts")


HubRequest = Annotated[
    Annotated[HubTexts, Tag(SHAPE_TAG + "texts")]
    | Annotated[HubSimilarity, Tag(SHAPE_TAG + "similarity")]
    | Annotated[HubQuestion, Tag(SHAPE_TAG + "question")],
    Discriminator(_task_of),
]
"""A request of any task that its inputs tell."""
