"""The application: endpoints, and the one client they share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from trident_client import AsyncTridentClient, NotReadyError, Timeout

from trident_api import problems
from trident_api.body import JsonBody
from trident_api.schemas import GenerateRequest, Health, PredictedPair, SentencePair, Similarity
from trident_api.settings import ApiSettings

TRUNCATED = "x-truncated"
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
            app.state.client = client
            yield

    app = FastAPI(
        title="Trident",
        description="Sentence-level NLP from NVIDIA Triton Inference Server.",
        lifespan=lifespan,
        strict_content_type=False,
    )
    app.add_middleware(JsonBody, max_bytes=settings.max_body_bytes)
    problems.install(app, settings.retry_after)

    async def similarity(request: Request, response: Response, pair: SentencePair) -> Similarity:
        client: AsyncTridentClient = request.app.state.client

        def truncated(indices: list[int]) -> None:
            response.headers[TRUNCATED] = "true"

        (cosine,) = await client.similarity([(pair.sentence_1, pair.sentence_2)], on_truncation=truncated)
        return Similarity(score=float(cosine), pred=int(cosine >= settings.similarity_threshold))

    @app.post("/generate", responses=INFERENCE_ERRORS)
    async def generate(body: GenerateRequest, request: Request, response: Response) -> Similarity:
        """Answer whichever task the fields belong to."""
        return await similarity(request, response, body)

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
