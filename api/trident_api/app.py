"""The application: endpoints, and the one client they share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from trident_client import AsyncTridentClient, NotReadyError, Timeout

from trident_api import problems
from trident_api.body import JsonBody
from trident_api.catalogue import Catalogue
from trident_api.schemas import (
    Answer,
    GenerateRequest,
    Health,
    Model,
    Models,
    Passage,
    PredictedPair,
    Probabilities,
    Probability,
    Question,
    SentencePair,
    Sentences,
    Similarity,
)
from trident_api.settings import ApiSettings

TRUNCATED = "x-truncated"
#: Cosine from which two sentences are similar where neither the settings nor the model say: 3 of 5.
THRESHOLD = 0.6
INFERENCE_ERRORS = problems.responses(413, 422, 502, 503, 504)


def make_client(settings: ApiSettings) -> AsyncTridentClient:
    """Return a client of the Triton that the settings name."""
    url = settings.triton_grpc_url if settings.triton_protocol == "grpc" else settings.triton_url
    timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout)
    return AsyncTridentClient(url, protocol=settings.triton_protocol, timeout=timeout)


def create_app(
    settings: ApiSettings | None = None, client_factory: Callable[[ApiSettings], AsyncTridentClient] = make_client
) -> FastAPI:
    """Make the application.

    Args:
        settings: read from the environment when not given.
        client_factory: makes the client, in the event loop that will use it.
    """
    settings = settings or ApiSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with client_factory(settings) as client:
            app.state.client, app.state.catalogue = client, Catalogue(client)
            yield

    app = FastAPI(
        title="Trident",
        description="Sentence-level NLP from NVIDIA Triton Inference Server.",
        lifespan=lifespan,
        strict_content_type=False,
    )
    app.add_middleware(JsonBody, max_bytes=settings.max_body_bytes)
    problems.install(app, settings.retry_after)

    def truncated(response: Response) -> Callable[[list[int]], None]:
        return lambda indices: response.headers.update({TRUNCATED: "true"})

    async def served(request: Request, model: str, task: str) -> float | None:
        """Return the threshold of a set of models, if it has one; refuse one that is not served for the task."""
        catalogue: Catalogue = request.app.state.catalogue
        return (await catalogue.find(model, task)).threshold

    async def acceptability(request: Request, response: Response, body: Passage | Sentences) -> list[float]:
        client: AsyncTridentClient = request.app.state.client
        await served(request, body.model, "cola")
        sentences = body.sentences if isinstance(body, Sentences) else [body.passage]
        found = await client.acceptability(sentences, model=body.model, on_truncation=truncated(response))
        return [float(each) for each in found]

    async def similarity(request: Request, response: Response, pair: SentencePair) -> Similarity:
        client: AsyncTridentClient = request.app.state.client
        own = await served(request, pair.model, "sts")
        threshold = next(each for each in (settings.similarity_threshold, own, THRESHOLD) if each is not None)
        pairs = [(pair.sentence_1, pair.sentence_2)]
        (cosine,) = await client.similarity(pairs, model=pair.model, on_truncation=truncated(response))
        return Similarity(score=float(cosine), pred=int(cosine >= threshold))

    async def answers(request: Request, body: Question) -> Answer | list[Answer]:
        client: AsyncTridentClient = request.app.state.client
        await served(request, body.model, "qa")
        found = await client.answer(
            body.question, body.context, body.top_k, model=body.model, max_answer_tokens=body.max_answer_tokens
        )
        spans = [Answer(**each._asdict()) for each in found]
        return spans if body.top_k > 1 else spans[0]

    @app.post("/generate", responses=INFERENCE_ERRORS)
    async def generate(
        body: GenerateRequest, request: Request, response: Response
    ) -> Probability | Similarity | Answer | list[Answer]:
        """Answer whichever task the fields belong to."""
        if isinstance(body, Question):
            return await answers(request, body)
        if isinstance(body, SentencePair):
            return await similarity(request, response, body)
        (probability,) = await acceptability(request, response, body)
        return Probability(prob=probability)

    @app.post("/acceptability", responses=INFERENCE_ERRORS)
    async def judge(body: Sentences, request: Request, response: Response) -> Probabilities:
        """Judge a list of sentences."""
        return Probabilities(probs=await acceptability(request, response, body))

    @app.post("/qa", responses=INFERENCE_ERRORS)
    async def ask(body: Question, request: Request) -> Answer | list[Answer]:
        """Find the answer to a question in a context of any length; a list, the best first, when `top_k` is above 1."""
        return await answers(request, body)

    @app.post("/pred/sentences/", include_in_schema=False)
    @app.post("/pred/sentences", responses=INFERENCE_ERRORS)
    async def predict_sentences(body: SentencePair, request: Request, response: Response) -> PredictedPair:
        """Compare two sentences.

        The header `x-truncated: true` says that a sentence was longer than the encoder takes and its end was ignored.
        """
        started = time.perf_counter()
        answer = await similarity(request, response, body)
        return PredictedPair(
            sentence_1=body.sentence_1,
            sentence_2=body.sentence_2,
            score=answer.score,
            pred=answer.pred,
            runtime=time.perf_counter() - started,
        )

    @app.get("/models", responses=problems.responses(502, 503, 504))
    async def models(request: Request) -> Models:
        """List the sets of models that are served."""
        catalogue: Catalogue = request.app.state.catalogue
        found = await catalogue.models()
        return Models(models=[Model.model_validate(each, from_attributes=True) for each in found])

    @app.get("/health/live")
    async def live() -> Health:
        """Say that the facade runs."""
        return Health(status="live")

    @app.get("/health/ready", responses=problems.responses(503, 504))
    async def ready(request: Request) -> Health:
        """Say whether Triton answers for every model."""
        client: AsyncTridentClient = request.app.state.client
        if not await client.ready():
            raise NotReadyError("Triton's models are not ready; try again in a moment.")
        return Health(status="ready")

    _describe_problems(app)
    return app


def _describe_problems(app: FastAPI) -> None:
    """Put the problem schema into the OpenAPI document, in place of FastAPI's own validation error."""
    make = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schemas = make()["components"]["schemas"]
            problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"), Problem=problem)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
        return make()

    app.openapi = openapi  # type: ignore[method-assign]
