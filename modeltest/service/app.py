"""The routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from modeltest.service.answering import Service
from modeltest.service.content import EXAMPLE_CLIP
from modeltest.service.forms import Form
from modeltest.service.generate_messages import GenerateForm, GenerateRequest
from modeltest.service.guard import Guard
from modeltest.service.metrics import CONTENT_TYPE
from modeltest.service.openai_messages import ChatForm, ChatRequest
from modeltest.service.refusals import Refusal

CHAT, GENERATE = "/v1/chat/completions", "/generate"
_REFERENCE = "#/components/schemas/{model}"
_PARTS = [
    {"type": "audio_url", "audio_url": {"url": EXAMPLE_CLIP}},
    {"type": "text", "text": "What do you hear?"},
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request cannot be answered; the message says why"},
    401: {"description": "The key is missing or wrong"},
    403: {"description": "A page of another host asks"},
    404: {"description": "Another model was asked for"},
    408: {"description": "The body took too long"},
    413: {"description": "The body is too large"},
    503: {"description": "Too much is under way, or the server stops; see Retry-After"},
}


def make_app(service: Service, key: str | None, is_loopback: bool, host: str) -> FastAPI:
    """The ASGI app.

    Args:
        service: Answers; its batcher has been started.
        key: What `Authorization: Bearer` must bring; None asks for none.
        is_loopback: Whether only this machine reaches the server.
        host: What it was told to listen on.
    """
    app = FastAPI(
        title="modeltest serve",
        version=service.served.version,
        docs_url=None,  # their pages load scripts from other hosts
        redoc_url=None,
    )
    forms: dict[str, Form] = {CHAT: ChatForm(), GENERATE: GenerateForm(), "": ChatForm()}
    _add_questions(app, service, forms)
    _add_facts(app, service)

    async def refused(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else "a bug in modeltest"
        headers = error.headers if isinstance(error, HTTPException) else None
        return JSONResponse(forms[""].refused(Refusal(status, detail)), status, headers)

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, refused)
    app.add_middleware(Guard, key=key, is_loopback=is_loopback, host=host, forms=forms)
    # FastAPI's documented way to a schema of one's own.
    app.openapi = lambda: _openapi(app, service.served.model, key)  # type: ignore[method-assign]
    return app


def _add_questions(app: FastAPI, service: Service, forms: dict[str, Form]) -> None:
    async def chat(request: Request) -> Response:
        """Answer a question about clips, in OpenAI's form."""
        return await service.answer(forms[CHAT], request, CHAT)

    async def generate(request: Request) -> Response:
        """Answer a question about clips, in the form of vLLM and MindIE, or of TGI."""
        return await service.answer(forms[GENERATE], request, GENERATE)

    chat_example = {"messages": [{"role": "user", "content": _PARTS}]}
    app.post(CHAT, responses=_responses(ChatForm), openapi_extra=_body(ChatRequest, chat_example))(
        chat
    )
    app.post(
        GENERATE,
        responses={**_responses(GenerateForm), 422: {"description": "The body cannot be used"}},
        openapi_extra=_body(GenerateRequest, {"prompt": _PARTS}),
    )(generate)


def _add_facts(app: FastAPI, service: Service) -> None:
    served = service.served

    async def health() -> Response:
        """Tell whether the model answers: 200, or 500 when its device was lost."""
        failure = service.batcher.failure
        if failure is None:
            return Response(status_code=200)
        return JSONResponse({"message": "the model does not answer any more"}, 500)

    async def models() -> dict[str, Any]:
        """List the one model."""
        model = {
            "id": served.model,
            "object": "model",
            "created": served.created_s,
            "owned_by": "modeltest",
        }
        return {"object": "list", "data": [model]}

    async def version() -> dict[str, str]:
        """Tell modeltest's version."""
        return {"version": served.version}

    async def metrics() -> Response:
        """Count what was done, as Prometheus text."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    lost: dict[int | str, dict[str, Any]] = {500: {"description": "The device was lost"}}
    app.get("/health", responses=lost, response_class=Response)(health)
    app.get("/v1/models")(models)
    app.get("/version")(version)
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
    app.get("/metrics", response_class=Response, responses=text)(metrics)


def _responses(form: type[ChatForm] | type[GenerateForm]) -> dict[int | str, dict[str, Any]]:
    whole: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    return {200: {"content": {**whole, form.media_type: {}}}, **_ERRORS}


def _body(kind: type[ChatRequest] | type[GenerateRequest], example: Any) -> dict[str, Any]:
    schema = {"$ref": _REFERENCE.format(model=kind.__name__)}
    json = {"schema": schema, "examples": {"a clip and a question": {"value": example}}}
    return {"requestBody": {"required": True, "content": {"application/json": json}}}


def _openapi(app: FastAPI, model: str, key: str | None) -> dict[str, Any]:
    """FastAPI's schema and the bodies' models, which are read by hand, whatever their type."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, bodies = models_json_schema(
            [(ChatRequest, "validation"), (GenerateRequest, "validation")], ref_template=_REFERENCE
        )
        for name in (ChatRequest.__name__, GenerateRequest.__name__):
            bodies["$defs"][name]["properties"]["model"]["examples"] = [model]
        components = schema.setdefault("components", {})
        components.setdefault("schemas", {}).update(bodies["$defs"])
        if key is not None:
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
        app.openapi_schema = schema
    return app.openapi_schema
