"""The page at ``/`` and the documentation: files of this package and of the environment, none from the network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

from trident_api import problems

STATIC = Path(__file__).parent / "static"
#: Nothing is loaded from elsewhere, even if a page were to ask for it.
POLICY = "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DOCS_POLICY = f"{POLICY}; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'"


def install(app: FastAPI) -> None:
    """Add the page, its files and the documentation to an application."""
    app.mount("/static/swagger", StaticFiles(directory=_swagger_files()))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers=_headers(POLICY))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        html = get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Trident",
            swagger_js_url="static/swagger/swagger-ui-bundle.js",
            swagger_css_url="static/swagger/swagger-ui.css",
            swagger_favicon_url="static/icon.svg",
            swagger_ui_parameters={"defaultModelsExpandDepth": -1, "tryItOutEnabled": True},
        )
        html.headers.update(_headers(DOCS_POLICY))
        return html


def _headers(policy: str) -> dict[str, str]:
    return {"content-security-policy": policy, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def _swagger_files() -> Path:
    # Swagger UI as the package fastapi-offline carries it; its code, which is not needed, is not imported.
    spec = importlib.util.find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package fastapi-offline, which carries Swagger UI, is not installed.")
    return Path(spec.origin).parent / "static"


def describe(app: FastAPI, *, keys_needed: bool) -> None:
    """Put the problem schema into the OpenAPI document, in place of FastAPI's own validation error, and the keys."""
    make = app.openapi

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            document = make()
            schemas = document["components"]["schemas"]
            problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs"), Problem=problem)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]
            for path, operation in operations:
                if operation["responses"].get("422", {}).get("content", {}).keys() == {"application/json"}:
                    operation["responses"] |= {str(key): value for key, value in problems.responses(422).items()}
                if path.startswith(problems.OPENAI_PATH):
                    operation["responses"].pop("422", None)
                if keys_needed and not path.startswith("/health/"):
                    operation["security"] = [{"key": []}]
                    refused = problems.responses(401, openai=path.startswith(problems.OPENAI_PATH))
                    operation["responses"] |= {str(key): value for key, value in refused.items()}
                if path in problems.HUB_PATHS:
                    for response in operation["responses"].values():
                        for content in filter(None, [response["content"].get("application/problem+json")]):
                            example = problems.as_the_hubs(problems.Problem(**content["example"]))
                            content["example"] = example.model_dump(exclude_none=True)
            if keys_needed:
                document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        return make()

    app.openapi = openapi  # type: ignore[method-assign]
