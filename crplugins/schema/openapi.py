"""The OpenAPI 3.1 document of the gateway."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from crplugins.schema.answer import ChatCompletion, ChatCompletionChunk, ErrorBody, Health, Model, ModelList, Readiness
from crplugins.schema.request import ChatCompletionRequest

_REQUEST_ID: Final = {
    "x-request-id": {"description": "Names the request in logs and records.", "schema": {"type": "string"}}
}

_ERRORS: Final = {
    400: "The request is malformed; `param` names the field.",
    401: "The key is missing or unknown.",
    404: "The model or path does not exist, or the key may not use it.",
    405: "The path does not support this method.",
    413: "The body is too large.",
    415: "The content type of the body is not JSON.",
    429: "A limit is reached; `retry-after` is the number of seconds to wait.",
    500: "The gateway failed.",
    502: "The model provider failed, or refused the gateway's credentials.",
    503: "The gateway is unavailable; try again.",
    504: "The model provider did not answer in time.",
}

_LISTING: Final = (401, 405, 500)


def openapi_document(
    *, title: str, version: str, server_url: str | None = None, models: Sequence[str] = ()
) -> dict[str, Any]:
    """The document: paths, schemas, errors, and the Bearer key. Takes about 50 ms to build.

    Args:
        server_url: the public address of the API, without `/v1`; None if it is that of the document.
        models: names to show as examples of `model`.
    """
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        **({"servers": [{"url": server_url}]} if server_url is not None else {}),
        "paths": {
            "/v1/chat/completions": {"post": _chat()},
            "/v1/models": {"get": _get("listModels", "The models this key may call.", "ModelList", _LISTING)},
            "/v1/models/{model}": {"get": _one_model(models)},
            "/healthz": {"get": _public("health", "Whether the process runs.", "Health")},
            "/readyz": {"get": _ready()},
            "/openapi.json": {"get": _public("openapi", "This document.", None)},
        },
        "components": {"schemas": _schemas(models), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }


def _schemas(models: Sequence[str]) -> dict[str, Any]:
    described: list[type[BaseModel]] = [
        ChatCompletionRequest, ChatCompletion, ChatCompletionChunk, ModelList, Model, ErrorBody, Health,
        Readiness,
    ]  # fmt: skip
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in described]
    _, document = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = document["$defs"]
    schemas["ChatCompletionRequest"]["properties"]["model"] |= _examples(models)
    return schemas


def _examples(models: Sequence[str]) -> dict[str, Any]:
    return {"examples": list(models)} if models else {}


def _chat() -> dict[str, Any]:
    return {
        "operationId": "createChatCompletion",
        "summary": "Answers a conversation, as a whole or as a stream.",
        "requestBody": {"required": True, "content": _json("ChatCompletionRequest")},
        "responses": {
            "200": {
                "description": "The answer; with `stream: true` one chunk per event, and `[DONE]` at the end.",
                "headers": _REQUEST_ID,
                "content": _json("ChatCompletion") | {"text/event-stream": {"schema": _ref("ChatCompletionChunk")}},
            },
            **_errors(_ERRORS),
        },
    }


def _one_model(models: Sequence[str]) -> dict[str, Any]:
    parameter = {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "May contain slashes.",
        "schema": {"type": "string"} | _examples(models),
    }
    return _get("retrieveModel", "One model.", "Model", (*_LISTING, 404)) | {"parameters": [parameter]}


def _get(operation: str, summary: str, schema: str | None, errors: Iterable[int]) -> dict[str, Any]:
    content = _json(schema) if schema else {"application/json": {"schema": {"type": "object"}}}
    answer = {"description": summary, "headers": _REQUEST_ID, "content": content}
    return {"operationId": operation, "summary": summary, "responses": {"200": answer, **_errors(errors)}}


def _public(operation: str, summary: str, schema: str | None) -> dict[str, Any]:
    return _get(operation, summary, schema, ()) | {"security": []}


def _ready() -> dict[str, Any]:
    operation = _public("ready", "Whether every model answers at once.", "Readiness")
    not_yet = {
        "description": "The gateway is not ready.",
        "headers": _REQUEST_ID,
        "content": _json("Readiness"),
    }
    return operation | {"responses": operation["responses"] | {"503": not_yet}}


def _errors(statuses: Iterable[int]) -> dict[str, Any]:
    return {
        str(status): {"description": _ERRORS[status], "headers": _REQUEST_ID, "content": _json("ErrorBody")}
        for status in statuses
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
