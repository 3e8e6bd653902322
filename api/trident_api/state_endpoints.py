"""The endpoints that tell what runs, and how well."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from trident_client import AsyncTridentClient, NotReadyError

from trident_api import problems
from trident_api.catalogue import Catalogue
from trident_api.inference import Inference
from trident_api.metrics import Metrics
from trident_api.schemas import Health, Model, Models
from trident_api.settings import ApiSettings

router = APIRouter(tags=["state"])


@router.get("/models", responses=problems.responses(429, 500, 502, 503, 504))
async def models(request: Request) -> Models:
    """List the sets of models that are served."""
    catalogue: Catalogue = request.app.state.catalogue
    inference: Inference = request.app.state.inference
    found = [replace(each, threshold=inference.threshold_of(each)) for each in await catalogue.models()]
    return Models(models=[Model.model_validate(each, from_attributes=True) for each in found])


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live")
async def live() -> Health:
    """Say that the facade runs."""
    return Health(status="live")


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", responses=problems.responses(429, 500, 502, 503, 504))
async def ready(request: Request) -> Health:
    """Say whether Triton answers for every model that is to be served, and none lets requests run out of time."""
    client: AsyncTridentClient = request.app.state.client
    settings: ApiSettings = request.app.state.settings
    if not await client.ready(settings.models):
        raise NotReadyError("Triton's models are not ready; try again in a moment.")
    inference: Inference = request.app.state.inference
    if (model := await inference.hangs.hanging()) is not None:
        raise NotReadyError(f"The set '{model}' answers nothing, though Triton calls it ready; try again in a moment.")
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Count requests, their times and their sizes, for Prometheus."""
    counted: Metrics = request.app.state.metrics
    return Response(counted.text(), media_type=CONTENT_TYPE_LATEST)
