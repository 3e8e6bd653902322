"""The application: what it is made of, layer by layer, and the one client that all requests share."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from trident_client import AsyncTridentClient, Retry, Timeout, Tls

from trident_api import (
    endpoints,
    file_endpoints,
    hub_endpoints,
    log,
    openai_endpoints,
    pages,
    problems,
    state_endpoints,
    tracing,
)
from trident_api.access import Keys, RequireKey
from trident_api.admission import Admission
from trident_api.allowance import Allowance
from trident_api.body import BoundedBody
from trident_api.catalogue import Catalogue
from trident_api.disconnect import CancelWhenGone
from trident_api.draining import ReadToTheEnd
from trident_api.inference import Inference
from trident_api.lingering import Linger
from trident_api.metrics import Metrics
from trident_api.observe import Observe
from trident_api.paths import OneSpelling
from trident_api.settings import HEAD_TIMEOUT, ApiSettings
from trident_api.shedding import ShedLoad

DESCRIPTION = (
    "Sentence-level NLP from NVIDIA Triton Inference Server. Every answer carries `x-request-id`; one of an inference "
    "also `x-queue-time` and `x-inference-time`, in milliseconds. `x-truncated: true` says that a text was longer than "
    "the model takes, and `x-truncated-items`, such as `0,3-7`, which items of a list were; `x-unknown-tokens` and "
    "`x-unknown-items` say the same of words or symbols that the vocabulary cannot read. `x-unread-language: ko` "
    "says that a text is in a language that the set of models was not made for; it is answered all the same."
)
#: Headers that a page of another origin may read.
EXPOSED = (
    "x-request-id",
    "x-queue-time",
    "x-inference-time",
    "x-truncated",
    "x-truncated-items",
    "x-unknown-tokens",
    "x-unknown-items",
    "x-unread-language",
    "retry-after",
)


def make_client(settings: ApiSettings) -> AsyncTridentClient:
    """Return a client of the Triton that the settings name.

    A request that finds Triton away keeps its turn and is made again until Triton has restarted. What is with Triton
    when it dies, and as much again, is in the budget; when that is spent, Triton does not come back soon, and requests
    fail at once. One that Triton refuses because it is overloaded is not made again: that is for its sender to do.
    """
    url = settings.triton_grpc_url if settings.triton_protocol == "grpc" else settings.triton_url
    timeout = Timeout(connect=settings.connect_timeout, read=settings.read_timeout, deadline=settings.longest)
    retry = Retry(
        attempts=1 + settings.retries,
        longest_wait=1.0,
        budget=2 * settings.retries * settings.max_concurrent,
        overloaded=False,
    )
    return AsyncTridentClient(
        url,
        protocol=settings.triton_protocol,
        timeout=timeout,
        retry=retry,
        tls=Tls(settings.triton_authorities) if settings.triton_authorities else None,
        # The facade knows the sets of models itself, and says so in a header.
        check_languages=False,
    )


@contextmanager
def _left_out_of_garbage_collection() -> Iterator[None]:
    """Do not look for garbage among what was there before the first request: it would cost each a tenth of a ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _longest_body(settings: ApiSettings, path: str) -> int:
    if path in file_endpoints.UPLOADS:
        return settings.max_file_bytes
    lists = {*endpoints.LISTS, *hub_endpoints.LISTS, *openai_endpoints.LISTS}
    is_list = path in lists or path.startswith(endpoints.LISTS_BELOW)
    return settings.max_list_bytes if is_list else settings.max_body_bytes


def create_app(
    settings: ApiSettings | None = None, client_factory: Callable[[ApiSettings], AsyncTridentClient] = make_client
) -> FastAPI:
    """Make the application.

    Args:
        settings: when not given, read from the environment, and the facade's log goes to standard error.
        client_factory: makes the client, in the event loop that will use it.

    Raises:
        ValueError: the file of keys that the settings name holds none.
        RuntimeError: traces are wanted and the packages for them are not installed.
    """
    if settings is None:
        settings = ApiSettings()
        log.configure(settings.log_level)
    chosen = settings
    admission = Admission(chosen.max_concurrent, chosen.max_waiting, chosen.max_queue_seconds, chosen.longest)
    metrics = Metrics(admission)
    provider = tracing.make_provider(chosen.otlp_endpoint) if chosen.otlp_endpoint else None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, float]]:
        async with AsyncExitStack() as stack:
            # Before the client's channel is made: only then is it one that carries the trace.
            stack.enter_context(tracing.calls_carry_the_trace(provider))
            client = await stack.enter_async_context(client_factory(chosen))
            catalogue = Catalogue(client)
            app.state.client, app.state.catalogue = client, catalogue
            app.state.inference = Inference(
                client,
                catalogue,
                admission,
                metrics,
                Allowance(chosen.key_tokens_per_minute, "tokens"),
                chosen.longest,
                chosen.similarity_threshold,
                # A trace is one request's.
                joining=provider is None,
            )
            stack.enter_context(_left_out_of_garbage_collection())
            yield {HEAD_TIMEOUT: chosen.head_timeout}

    app = FastAPI(
        title="Trident",
        description=DESCRIPTION,
        lifespan=lifespan,
        strict_content_type=False,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": chosen.root_path}] if chosen.root_path else None,
        telemetry=tracing.settings_of(provider),
    )
    app.state.settings, app.state.metrics = chosen, metrics
    for module in (endpoints, hub_endpoints, file_endpoints, openai_endpoints, state_endpoints):
        app.include_router(module.router)
    pages.install(app)
    pages.describe(app, keys_needed=chosen.api_keys_file is not None)
    problems.install(app, chosen.retry_after)

    # From the innermost to the outermost.
    app.add_middleware(CancelWhenGone, send_timeout=chosen.longest)
    app.add_middleware(ShedLoad, retry_after=chosen.retry_after)
    app.add_middleware(
        BoundedBody,
        limit_of=partial(_longest_body, chosen),
        max_held=chosen.max_held_bytes,
        max_held_each=chosen.max_held_bytes_each,
        timeout=chosen.body_timeout,
        uploads=file_endpoints.UPLOADS,
        # What is held now is let go as it is answered.
        retry_after=lambda: admission.seconds_left or chosen.retry_after,
    )
    if chosen.api_keys_file is not None:
        requests = Allowance(chosen.key_requests_per_minute, "requests")
        app.add_middleware(RequireKey, keys=Keys(chosen.api_keys_file), requests=requests)
    app.add_middleware(Observe, metrics=metrics)
    app.add_middleware(OneSpelling, prefix=chosen.root_path)
    if chosen.cors_origins:
        # Around what answers to failures: a page may read those too. Who may ask is said by the origins; packages for
        # browsers add headers of their own to every request.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=chosen.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    app.add_middleware(ReadToTheEnd)
    app.add_middleware(Linger)
    return app
