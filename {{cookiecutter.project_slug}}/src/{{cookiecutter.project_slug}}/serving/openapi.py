"""The OpenAPI document, made from the messages that the service checks by."""

from typing import Any

from pydantic.json_schema import models_json_schema

from .messages import ENTITY, Predict, Rank, Ranking, Refusal

TITLE = __name__.split(".")[0].replace("_", " ")
JSON = "application/json"
REFUSALS = {
    400: "the body is not JSON",
    401: "the API key is missing or wrong",
    408: "the body came too slowly",
    413: "the body is too large",
    422: "a field is wrong",
    503: "too many requests at once",
}
STATES = {
    "/healthz": "Whether the process is alive.",
    "/readyz": "Whether model and features are loaded, and fresh enough.",
    "/version": "Which code, model and data serve.",
}


def document(keys: bool) -> dict[str, Any]:
    """The document; with keys, the requests need one."""
    models = (Rank, Predict, Ranking, Refusal)
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1"},
        "paths": {
            "/rank": _post(Rank, f"Rank for a {ENTITY}, by the features of the online table."),
            "/predict": _post(Predict, "Rank by features that the caller has."),
            **{path: _get(words) for path, words in STATES.items()},
        },
        "components": {"schemas": schemas["$defs"]},
    }
    if keys:
        content["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path in ("/rank", "/predict"):
            content["paths"][path]["post"]["security"] = [{"key": []}]
    return content


def _post(model: type, summary: str) -> dict[str, Any]:
    refusals = {str(status): _response(words, Refusal) for status, words in REFUSALS.items()}
    operation = {
        "summary": summary,
        "requestBody": {"required": True, "content": _content(model)},
        "responses": {"200": _response("the ranking", Ranking), **refusals},
    }
    return {"post": operation}


def _get(summary: str) -> dict[str, Any]:
    responses = {"200": {"description": "yes", "content": {JSON: {"schema": {"type": "object"}}}}}
    if "fresh" in summary:
        responses["503"] = _response("no, and why", Refusal)
    return {"get": {"summary": summary, "responses": responses}}


def _response(words: str, model: type) -> dict[str, Any]:
    return {"description": words, "content": _content(model)}


def _content(model: type) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
