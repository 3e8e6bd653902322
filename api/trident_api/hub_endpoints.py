"""The tasks as Hugging Face's clients, text-embeddings-inference's (TEI) and rerankers' ask for them.

Where a path is also this facade's own, the endpoint of that path calls what answers here. TEI's paths that are not
served say why: :data:`trident_api.problems.NOT_SERVED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from trident_client import contract

from trident_api import problems, tokens, vectors
from trident_api.call import Call, Truncating, listed_texts, one_object, one_text, text_and_list
from trident_api.hub_schemas import (
    Decode,
    Document,
    HubJudged,
    HubQuestion,
    HubRequest,
    HubRerank,
    HubSimilarity,
    HubTexts,
    Info,
    Label,
    Ranked,
    RankedDocument,
    RankedDocuments,
    Rerank,
    Token,
    Tokenize,
    Tokens,
)
from trident_api.inference import Inference, Values
from trident_api.openai_endpoints import OPENAI_ERRORS
from trident_api.schemas import Answer, rows_of
from trident_api.settings import ApiSettings
from trident_api.work import MOST_TOKENS

#: Paths that take many texts.
LISTS = ("/", "/predict", "/rerank", "/v1/rerank", "/v2/rerank", "/tokenize", "/decode")
#: What CoLA's 0 and 1 mean.
LABELS = ("unacceptable", "acceptable")
INFERENCE_ERRORS = problems.responses(413, 415, 422, 429, 500, 502, 503, 504)

router = APIRouter(tags=["Hugging Face"])


@router.post(
    "/", responses=INFERENCE_ERRORS, response_model=list[list[float] | str] | list[float] | Answer | list[Answer]
)
async def root(body: HubRequest, request: Request) -> Any:
    """Embed, compare or answer, whichever task the inputs belong to: clients that know only a server's address."""
    if isinstance(body, HubQuestion):
        return await answer(body, request)
    return await (compare(body, request) if isinstance(body, HubSimilarity) else embed(body, request))


async def embed(body: HubTexts, request: Request) -> Response:
    """Return the embedding of each text, as a list."""
    call, inference = _call_and_inference(request)
    call.naming = one_text("inputs") if isinstance(body.inputs, str) else listed_texts("inputs")
    model = body.model or contract.STS.name
    await vectors.check_dimensions(request, model, body.dimensions)
    found = await inference.embed(
        call,
        body.texts,
        model,
        prompt_name=body.prompt_name,
        input_type=body.input_type,
        truncate_left=body.truncation == "left",
    )
    call.refuse_truncated(body)
    # Past pydantic, which would look at every number.
    content = orjson.dumps(
        vectors.shaped(found, body.dimensions, body.encoding_format), option=orjson.OPT_SERIALIZE_NUMPY
    )
    return Response(content, media_type="application/json")


async def compare(body: HubSimilarity, request: Request) -> list[float]:
    """Return the cosine of a sentence and each of some others."""
    call, _ = _call_and_inference(request)
    call.naming = text_and_list("inputs.source_sentence", "inputs.sentences")
    given, reading = body.inputs, body.reading
    found = await _embed_both(
        request,
        reading,
        body.model,
        given.source_sentence,
        given.sentences,
        prompt_name=reading.prompt_name,
        input_type=reading.input_type,
    )
    return _cosines(found)


async def answer(body: HubQuestion, request: Request) -> Answer | list[Answer]:
    """Return the best answer, or a list of them where more than one was asked for."""
    call, inference = _call_and_inference(request)
    call.naming = one_object("inputs")
    wanted = body.parameters
    top_k = wanted.top_k if wanted and wanted.top_k else 1
    longest = wanted.max_answer_len if wanted and wanted.max_answer_len else contract.DEFAULT_ANSWER_TOKENS
    pairs = [(body.inputs.question, body.inputs.context)]
    model = body.model or contract.QA.name
    # As transformers' pipeline has it: a reader declines where it is asked to.
    declines = bool(wanted and wanted.handle_impossible_answer)
    (found,) = await inference.answers(call, pairs, model, top_k, longest, no_answer=declines)
    spans = [Answer(**each._asdict()) for each in found]
    return spans if top_k > 1 else spans[0]


@router.post("/predict", responses=INFERENCE_ERRORS)
async def predict(body: HubJudged, request: Request) -> list[Label] | list[list[Label]]:
    """Classify texts, or pairs of them: each label with its score, the likeliest first.

    A model of the task `classify` has the labels that it was trained with; one of `cola` calls a sentence acceptable
    or unacceptable. Where none is named, the set `classify` answers, and `cola` where there is no such set.

    `inputs` is a text, or a list with a list of one text or two, a pair, for each item. For `classify` a list of one or
    two texts is one item, as in TEI; for `cola`, which knows no pairs, it is a list of sentences.
    """
    call, inference = _call_and_inference(request)
    info = await inference.find(body.model, contract.CLASSIFY.name, contract.COLA.name)
    single, items = body.items(pairs=info.task == contract.CLASSIFY.name)
    call.naming = one_text("inputs") if single else listed_texts("inputs")
    labels: Sequence[str]
    if info.task == contract.COLA.name:
        if body.raw_scores:
            raise problems.InvalidRequestError(
                [problems.FieldProblem(field="raw_scores", detail=f"{info.name} gives probabilities alone")]
            )
        found = await inference.acceptability(call, items, info.name, truncate_left=body.truncation == "left")
        rows, labels = np.stack([1 - found, found], axis=1), LABELS
    else:
        rows = await inference.scores(
            call,
            info.task,
            items,
            info.name,
            raw_scores=bool(body.raw_scores),
            truncate_left=body.truncation == "left",
        )
        labels = info.labels
    call.refuse_truncated(body)
    top_k = body.parameters.top_k if body.parameters else None
    answers = [
        [Label(label=labels[place], score=scores[place]) for place in _best_first(scores)][:top_k]
        for scores in rows.tolist()
    ]
    # TEI answers one text with its labels, the hub with a list of those of each text.
    return answers[0] if single and body.parameters is None else answers


@router.post("/rerank", responses=INFERENCE_ERRORS, response_model_exclude_none=True)
async def rerank(body: HubRerank, request: Request) -> list[Ranked]:
    """Put texts in order of how well they answer a query.

    A model of the task `rerank`, a cross-encoder, reads the query with each text, and scores from 0 to 1; one of `sts`
    compares their embeddings, and scores are cosines. Where none is named, the set `rerank` answers, and `sts` where
    there is no such set.
    """
    _, scores = await _relevance(request, body, raw_scores=bool(body.raw_scores))
    return [
        Ranked(index=each, score=scores[each], text=body.texts[each] if body.return_text else None)
        for each in _best_first(scores)[: body.top_n]
    ]


@router.post("/v1/rerank", responses=OPENAI_ERRORS, response_model_exclude_none=True)
@router.post("/v2/rerank", responses=INFERENCE_ERRORS, response_model_exclude_none=True)
async def rerank_documents(body: Rerank, request: Request) -> RankedDocuments:
    """Put documents in order, as `/rerank` does, for the clients of Cohere and Jina."""
    call, _ = _call_and_inference(request)
    model, scores = await _relevance(request, body)
    results = [
        RankedDocument(
            index=each,
            relevance_score=scores[each],
            document=Document(text=body.texts[each]) if body.return_documents else None,
        )
        for each in _best_first(scores)[: body.top_n]
    ]
    return RankedDocuments(
        id=call.request_id,
        model=model,
        results=results,
        usage=Tokens(total_tokens=call.tokens),
    )


@router.post("/tokenize", responses=INFERENCE_ERRORS, response_model=list[list[Token]])
async def tokenize(body: Tokenize, request: Request) -> Response:
    """Return all tokens of each text, also those that the model does not take, with their places in characters.

    Tokens that frame a text, and those of its prompt, have none.
    """
    call, inference = _call_and_inference(request)
    found = await tokens.tell(inference, call, body.texts, body.model, prompt_name=body.prompt_name)
    answer = [[each for each in row if not (each["special"] and body.add_special_tokens is False)] for row in found]
    # Past pydantic, which would look at every token.
    return Response(orjson.dumps(answer), media_type="application/json")


@router.post("/decode", responses=INFERENCE_ERRORS)
async def decode(body: Decode, request: Request) -> list[str]:
    """Return the text that token ids stand for, in a list: of one text, or of each."""
    call, inference = _call_and_inference(request)
    rows = rows_of(body.ids)
    return await tokens.decode(inference, call, rows, body.model, with_special=body.skip_special_tokens is False)


@router.get("/info", responses=problems.responses(429, 500, 502, 503, 504))
async def info(request: Request) -> Info:
    """Say what TEI's clients ask about a server."""
    _, inference = _call_and_inference(request)
    settings: ApiSettings = request.app.state.settings
    found = await inference.find(contract.STS.name, contract.STS.name)
    longest = found.max_tokens or MOST_TOKENS
    return Info(
        model_id=found.name,
        model_dtype=found.export.get("dtype", "unknown"),
        max_concurrent_requests=settings.max_concurrent,
        max_input_length=longest,
        max_batch_tokens=contract.MAX_BATCH * longest,
        version=_version(),
    )


def _refuse(path: str, why: str) -> None:
    """Add a path of TEI's at which nothing is served."""

    async def refused() -> Response:
        return problems.problem(404, why)

    described = problems.responses(404, 413, 415, 429, 500, 503)
    described[404]["content"]["application/problem+json"]["example"]["detail"] = why
    router.add_api_route(
        path,
        refused,
        methods=["POST"],
        status_code=404,
        response_class=Response,
        responses=described,
        name=path.strip("/"),
        summary="Not served",
        description=why,
    )


for _path, _why in problems.NOT_SERVED.items():
    _refuse(_path, _why)


def _version() -> str:
    try:
        return metadata.version("trident-nlp")
    except metadata.PackageNotFoundError:
        return "unknown"


def _call_and_inference(request: Request) -> tuple[Call, Inference]:
    problems.refuse_options_in_query(request)
    return request.state.call, request.app.state.inference


def _kinds(passages: Sequence[str]) -> list[contract.InputType]:
    passage: contract.InputType = "passage"
    return ["query", *(passage for _ in passages)]


async def _relevance(
    request: Request, body: HubRerank | Rerank, *, raw_scores: bool = False
) -> tuple[str, list[float]]:
    """Return which set of models answers, and how well each text answers a query as that has it."""
    call, inference = _call_and_inference(request)
    info = await inference.find(body.model, contract.RERANK.name, contract.STS.name)
    field = "texts" if isinstance(body, HubRerank) else "documents"
    if info.task == contract.STS.name:
        call.naming = text_and_list("query", field)
        both = await _embed_both(request, body, body.model, body.query, body.texts, kinds=_kinds(body.texts))
        return info.name, _cosines(both)
    call.naming = listed_texts(field)
    pairs = [(body.query, text) for text in body.texts]
    found = await inference.scores(
        call, info.task, pairs, info.name, raw_scores=raw_scores, truncate_left=body.truncation == "left"
    )
    call.refuse_truncated(body)
    return info.name, found[:, 0].tolist()


async def _embed_both(
    request: Request,
    reading: Truncating,
    model: str | None,
    text: str,
    others: Sequence[str],
    *,
    prompt_name: str | None = None,
    input_type: contract.InputType | None = None,
    kinds: Sequence[contract.InputType] = (),
) -> Values:
    """Return the embedding of a text, and of those that it is compared with."""
    call, inference = _call_and_inference(request)
    found = await inference.embed(
        call,
        [text, *others],
        model or contract.STS.name,
        prompt_name=prompt_name,
        input_type=input_type,
        kinds=kinds,
        truncate_left=reading.truncation == "left",
    )
    # The text itself is no item of the list.
    call.note_truncated(each - 1 for each in call.truncated_items if each)
    call.note_unknown(each - 1 for each in call.unknown_items if each)
    call.refuse_truncated(reading)
    return found


def _cosines(found: Values) -> list[float]:
    cosines: list[float] = (found[1:] @ found[0]).tolist()
    return cosines


def _best_first(scores: Sequence[float]) -> list[int]:
    """Return the places of scores, the greatest first; equal ones as they were given."""
    return sorted(range(len(scores)), key=lambda each: -scores[each])
