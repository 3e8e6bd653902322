"""The endpoints of the three tasks that take and answer JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Body, Path, Query, Request, Response
from starlette.exceptions import HTTPException
from trident_client import Answer as Span
from trident_client import BadInputError, contract

from trident_api import hub_endpoints, problems, vectors
from trident_api.call import Call, listed_objects, listed_texts, one_text
from trident_api.hub_endpoints import INFERENCE_ERRORS
from trident_api.hub_schemas import (
    EmbedRequest,
    HubQuestion,
    HubSimilarity,
    HubTexts,
    QuestionRequest,
    SimilarityRequest,
)
from trident_api.inference import Inference, Pairs, Values
from trident_api.schemas import (
    EXAMPLE_KOREAN_QUESTION,
    EXAMPLE_PAIR,
    EXAMPLE_PASSAGE,
    EXAMPLE_QUESTION,
    Answer,
    Answers,
    Embeddings,
    GenerateRequest,
    Passage,
    Predicted,
    PredictedPair,
    Predictions,
    Probabilities,
    Probability,
    Question,
    Questions,
    SentencePair,
    SentencePairs,
    Sentences,
    Similarities,
    Similarity,
)

#: Paths, and those below, that take many texts or a long one.
LISTS = frozenset(ensemble.list_path for _, ensemble in contract.ensembles())
LISTS_BELOW = contract.GENERIC_PATH

ModelInQuery = Annotated[str | None, Query(max_length=100, description="As `model` in the body.")]

router = APIRouter(tags=["tasks"])


def call_and_inference(request: Request) -> tuple[Call, Inference]:
    """Return what every endpoint works with. No dependencies: FastAPI solves them anew for each request.

    Raises:
        InvalidRequestError: the query has options, which are the body's.
    """
    problems.refuse_options_in_query(request)
    return request.state.call, request.app.state.inference


def one_model(in_body: str | None, in_query: str | None) -> str:
    """Return the set of models that a body or a query names; that of similarity where neither does.

    Raises:
        InvalidRequestError: they name two.
    """
    if None not in {in_body, in_query} and in_body != in_query:
        problem = problems.FieldProblem(field="model", detail=f"is {in_body} in the body and {in_query} in the query")
        raise problems.InvalidRequestError([problem])
    return next((each for each in (in_body, in_query) if each is not None), contract.STS.name)


SHAPES = {
    "acceptability": {"value": EXAMPLE_PASSAGE},
    "similarity": {"value": EXAMPLE_PAIR},
    "question": {"value": EXAMPLE_QUESTION},
    "question in Korean": {"value": EXAMPLE_KOREAN_QUESTION},
}
QUESTIONS = {
    "one question": {"value": EXAMPLE_QUESTION},
    "one in Korean": {"value": EXAMPLE_KOREAN_QUESTION},
    "a list": {"value": {"questions": [EXAMPLE_QUESTION], "top_k": 3}},
    "as Hugging Face's clients ask": {"value": {"inputs": EXAMPLE_QUESTION}},
}


@router.post(contract.COLA.main.path, responses=INFERENCE_ERRORS)
async def generate(
    body: Annotated[GenerateRequest, Body(openapi_examples=SHAPES)], request: Request
) -> Probability | Similarity | Answer | list[Answer]:
    """Answer whichever task the fields belong to."""
    call, inference = call_and_inference(request)
    if isinstance(body, Question):
        return await _answer(body, call, inference)
    if isinstance(body, SentencePair):
        return await _similarity(body, call, inference)
    call.naming = one_text("passage")
    (probability,) = await _judge([body.passage], body, call, inference)
    return Probability(prob=float(probability))


@router.post(contract.COLA.main.list_path, responses=INFERENCE_ERRORS)
async def acceptability(body: Sentences, request: Request) -> Probabilities:
    """Judge a list of sentences."""
    call, inference = call_and_inference(request)
    call.naming = listed_texts("sentences")
    return Probabilities(probs=(await _judge(body.sentences, body, call, inference)).tolist())


@router.post(contract.STS.main.list_path, responses=INFERENCE_ERRORS)
async def similarity(body: SimilarityRequest, request: Request) -> Similarities | list[float]:
    """Compare the sentences of each pair of a list.

    `{"inputs": {"source_sentence", "sentences"}}` is answered by the cosine of each, as Hugging Face's clients ask.
    """
    if isinstance(body, HubSimilarity):
        return await hub_endpoints.compare(body, request)
    call, inference = call_and_inference(request)
    call.naming = listed_objects("pairs")
    pairs = [(each.sentence_1, each.sentence_2) for each in body.pairs]
    scores, preds = await _compare(pairs, body, call, inference)
    return Similarities(scores=scores.tolist(), preds=preds.astype(int).tolist())


@router.post(contract.EMBED.list_path, responses=INFERENCE_ERRORS, response_model=Embeddings | list[list[float] | str])
async def embed(body: EmbedRequest, request: Request) -> Response:
    """Return the embedding of each sentence of a list.

    `{"inputs": ...}`, a text or a list, is answered by a list of embeddings, as text-embeddings-inference does.
    """
    if isinstance(body, HubTexts):
        return await hub_endpoints.embed(body, request)
    call, inference = call_and_inference(request)
    call.naming = listed_texts("sentences")
    await vectors.check_dimensions(request, body.model, body.dimensions)
    found = await inference.embed(
        call,
        body.sentences,
        body.model,
        prompt_name=body.prompt_name,
        input_type=body.input_type,
        truncate_left=body.truncation == "left",
    )
    call.refuse_truncated(body)
    # Past pydantic, which would look at every number.
    rows = vectors.shaped(found, body.dimensions, body.encoding_format) if len(found) else []
    content = orjson.dumps({"embeddings": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, media_type="application/json")


@router.post(contract.QA.main.list_path, responses=INFERENCE_ERRORS)
async def qa(
    body: Annotated[QuestionRequest, Body(openapi_examples=QUESTIONS)], request: Request
) -> Answer | list[Answer] | Answers:
    """Find the answer to a question in a context of any length; a list, the best first, when `top_k` is above 1.

    A model that was taught that some questions have no answer says so by an empty `answer` at 0, whose `score` is the
    probability of that; `no_answer: false` asks for the best one all the same. A list ends with the last answer that
    has a hundredth of the first one's score.

    `{"questions": [{"question", "context"}, ...]}` is answered by `{"answers": [[...], ...]}`, one list a question;
    `{"inputs": {"question", "context"}, "parameters": {"top_k", "max_answer_len"}}`, as Hugging Face's clients ask,
    like one question.
    """
    if isinstance(body, HubQuestion):
        return await hub_endpoints.answer(body, request)
    call, inference = call_and_inference(request)
    if isinstance(body, Question):
        return await _answer(body, call, inference)
    call.naming = listed_objects("questions")
    pairs = [(each.question, each.context) for each in body.questions]
    return Answers(answers=[_spans(each) for each in await _ask(pairs, body, call, inference)])


@router.post(contract.STS.main.path, responses=INFERENCE_ERRORS)
async def predict_sentences(body: SentencePair, request: Request, model: ModelInQuery = None) -> PredictedPair:
    """Compare two sentences.

    The header `x-truncated: true` says that a sentence was longer than the encoder takes and its end was ignored, and
    `x-unknown-tokens: true` that one has words or symbols that the model's vocabulary cannot read.
    """
    call, inference = call_and_inference(request)
    started = time.perf_counter()
    named = body.model if "model" in body.model_fields_set else None
    body.model = one_model(named, model)
    answer = await _similarity(body, call, inference)
    return PredictedPair(
        sentence_1=body.sentence_1,
        sentence_2=body.sentence_2,
        score=answer.score,
        pred=answer.pred,
        runtime=round(time.perf_counter() - started, 6),
    )


@router.post(
    f"{contract.GENERIC_PATH}{{task}}",
    responses={**INFERENCE_ERRORS, **problems.responses(404)},
    response_model=Predicted,
)
async def predict(
    task: Annotated[str, Path(openapi_examples={"acceptability": {"value": "cola"}})],
    body: Predictions,
    request: Request,
) -> Response:
    """Ask any task by its name, those that were registered among them.

    An item is a text, or an object with a text for each column. Each result has the fields of the task's answer.
    """
    try:
        spec, ensemble = contract.ensemble_of(task)
    except KeyError:
        known = ", ".join(each.name for _, each in contract.ensembles())
        raise HTTPException(404, f"There is no task '{task}'; there are {known}.") from None
    if len(body.items) > ensemble.max_items:
        problem = problems.FieldProblem(field="items", detail=f"at most {ensemble.max_items} are accepted")
        raise problems.InvalidRequestError([problem])
    call, inference = call_and_inference(request)
    items, called = _items(ensemble, body.items)
    call.naming = lambda place, column: listed_objects("items")(place, called[place].get(column or ""))
    try:
        found = await inference.predict(
            call, task, items, body.model or spec.name, body.numbers, truncate_left=body.truncation == "left"
        )
    except BadInputError as error:
        if error.field not in body.numbers:
            raise
        problem = problems.FieldProblem(field=f"numbers.{error.field}", detail=error.reason)
        raise problems.InvalidRequestError([problem]) from None
    call.refuse_truncated(body)
    return Response(orjson.dumps({"results": found}, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")


def _items(
    ensemble: contract.Ensemble, given: Sequence[str | dict[str, str]]
) -> tuple[list[Any], list[dict[str, str]]]:
    """Return items as the client takes them, a text or a text for each input, and what each calls its columns."""
    found: list[Any] = []
    called: list[dict[str, str]] = []
    for index, item in enumerate(given):
        if isinstance(item, str):
            # A text alone is the only column that is needed.
            row = {ensemble.inputs[0].column: item} if len(ensemble.required) == 1 else {}
        else:
            row = item
        texts = []
        called.append({})
        for each in ensemble.inputs:
            name = next((name for name in each.names if name in row), None)
            if name is None and each.optional:
                continue
            if name is None:
                problem = problems.FieldProblem(field=f"items.{index}", detail=f"must have the field {each.column}")
                raise problems.InvalidRequestError([problem])
            texts.append(row[name])
            if row is item:
                called[-1][each.column] = name
        found.append(texts[0] if len(texts) == 1 else tuple(texts))
    return found, called


async def _judge(sentences: Sequence[str], body: Passage | Sentences, call: Call, inference: Inference) -> Values:
    found = await inference.acceptability(call, sentences, body.model, truncate_left=body.truncation == "left")
    call.refuse_truncated(body)
    return found


async def _similarity(pair: SentencePair, call: Call, inference: Inference) -> Similarity:
    scores, preds = await _compare([(pair.sentence_1, pair.sentence_2)], pair, call, inference)
    return Similarity(score=float(scores[0]), pred=int(preds[0]))


async def _compare(
    pairs: Pairs, body: SentencePair | SentencePairs, call: Call, inference: Inference
) -> tuple[Values, npt.NDArray[np.bool_]]:
    found = await inference.similarity(
        call,
        pairs,
        body.model,
        prompt_name=body.prompt_name,
        input_type=body.input_type,
        truncate_left=body.truncation == "left",
    )
    call.refuse_truncated(body)
    return found


async def _answer(body: Question, call: Call, inference: Inference) -> Answer | list[Answer]:
    (found,) = await _ask([(body.question, body.context)], body, call, inference)
    spans = _spans(found)
    return spans if body.top_k > 1 else spans[0]


async def _ask(pairs: Pairs, body: Question | Questions, call: Call, inference: Inference) -> list[list[Span]]:
    return await inference.answers(
        call, pairs, body.model, body.top_k, body.max_answer_tokens, no_answer=body.no_answer
    )


def _spans(found: Sequence[Span]) -> list[Answer]:
    return [Answer(**each._asdict()) for each in found]
