"""The HTTP service: bounded bodies, one token, joined duplicates; OpenAPI in docs/openapi.json."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal, cast

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field
from pydantic.json_schema import models_json_schema

from llmzero import __version__
from llmzero.agent.decide import Decider
from llmzero.agent.failures import LlmFailed
from llmzero.agent.incoming import body, check_token, parsed, wait
from llmzero.agent.llm import Llm
from llmzero.agent.metrics import Metrics
from llmzero.agent.prices import load_prices
from llmzero.agent.prompts import version
from llmzero.agent.settings import AgentSettings, OutputMode
from llmzero.api.base import Model
from llmzero.api.proposals import Answered, ProposalRequest, VerdictAnswer, VerdictRequest

LOG = logging.getLogger(__name__)
PROBE_PAUSES = (5.0, 15.0, 60.0, 300.0)
"""Seconds between tries to reach the model's endpoint at start."""

_COMPONENT = "#/components/schemas/"


class Readiness(Model):
    """What answers, and how. Ready even without the model: the rules stand in."""

    ready: bool
    provider: str
    output_mode: OutputMode | Literal["none", "unknown"] = Field(
        description="How the model is held to the schema; unknown until the endpoint answered."
    )
    vision: bool
    templates: list[str]
    resting_seconds: float = Field(0, description="The endpoint failed and is left alone so long.")
    message: str = ""


class Problem(Model):
    """Why a request was refused."""

    detail: str


def create_app(settings: AgentSettings, llm: Llm | None = None) -> FastAPI:
    """The service. ``llm`` replaces the model client that ``settings`` would build.

    Raises PricesError for a price table that cannot be used.
    """
    if llm is None and settings.provider != "rules":
        llm = Llm(settings)
    metrics = Metrics()
    decider = Decider(settings, llm, load_prices(settings.prices_file), metrics)
    joined = _Joined(metrics, settings.concurrency + settings.queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        probing = asyncio.create_task(_probe(decider)) if llm is not None else None
        yield
        if probing is not None:
            probing.cancel()
            with suppress(asyncio.CancelledError):
                await probing
        await decider.aclose()

    def authorized(request: Request) -> None:
        check_token(settings.token_file, request)

    app = FastAPI(
        title="LLMZero agent service",
        version=__version__,
        description="Diagnoses GRPO training stages and proposes the stages that follow.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )

    @app.post(
        "/v1/proposals",
        dependencies=[Depends(authorized)],
        summary="Diagnose a stage and propose what follows",
        **_documented(ProposalRequest),
    )
    async def proposals(
        raw: Annotated[bytes, Depends(body)], seconds: Annotated[float, Depends(wait)]
    ) -> Answered:
        question = parsed(ProposalRequest, raw)
        seconds = min(seconds, settings.timeout_seconds)
        answered = await joined.run("proposal", raw, lambda: decider.propose(question, seconds))
        return cast(Answered, answered)

    @app.post(
        "/v1/verdicts",
        dependencies=[Depends(authorized)],
        summary="Judge whether a doomed stage may go on",
        **_documented(VerdictRequest),
    )
    async def verdicts(
        raw: Annotated[bytes, Depends(body)], seconds: Annotated[float, Depends(wait)]
    ) -> VerdictAnswer:
        question = parsed(VerdictRequest, raw)
        seconds = min(seconds, settings.timeout_seconds)
        verdict = await joined.run("verdict", raw, lambda: decider.review(question, seconds))
        return cast(VerdictAnswer, verdict)

    @app.get("/healthz", summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Who answers, and how", responses={503: {"model": Readiness}})
    async def readyz() -> JSONResponse:
        state = _readiness(settings, decider)
        return JSONResponse(state.dump(), 200 if state.ready else 503)

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def prometheus() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_questions(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


class _Joined:
    """Duplicates of a running question (same id, same body) wait for the one answer."""

    def __init__(self, metrics: Metrics, limit: int) -> None:
        self._running: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self._metrics = metrics
        self._limit = limit

    async def run(self, decision: str, raw: bytes, work: Callable[[], Awaitable[Any]]) -> Any:
        key = (decision, hashlib.sha256(raw).hexdigest())
        task = self._running.get(key)
        if task is not None:
            self._metrics.joined.inc()
        elif len(self._running) >= self._limit:
            raise HTTPException(503, "too many decisions in flight", {"Retry-After": "5"})
        else:
            task = asyncio.create_task(_awaited(work))
            self._running[key] = task
            self._metrics.in_flight.inc()
            task.add_done_callback(lambda _: self._finished(key))
        return await asyncio.shield(task)

    def _finished(self, key: tuple[str, str]) -> None:
        del self._running[key]
        self._metrics.in_flight.dec()


async def _awaited(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


def _readiness(settings: AgentSettings, decider: Decider) -> Readiness:
    message = ""
    if settings.token_file is not None and not settings.token_file.is_file():
        message = "the token file cannot be read: every question is refused"
    elif decider.breaker.wait > 0:
        message = "the model's endpoint keeps failing; the rules answer"
    elif decider.llm is not None and decider.llm.mode is None:
        message = "the model's endpoint has not answered yet"
    mode: Any = "none" if decider.llm is None else decider.llm.mode or "unknown"
    return Readiness(
        ready=settings.token_file is None or settings.token_file.is_file(),
        provider=decider.provider,
        output_mode=mode,
        vision=decider.llm is not None and settings.vision,
        templates=[version("proposal"), version("skill"), version("verdict")],
        resting_seconds=round(decider.breaker.wait, 1),
        message=message,
    )


async def _probe(decider: Decider) -> None:
    """Find the output mode; again until the endpoint answers. Questions do not wait for it."""
    assert decider.llm is not None
    for attempt in range(1_000_000):
        try:
            await decider.llm.find_mode()
        except LlmFailed as error:
            LOG.warning("%s: %s", decider.provider, error)
        else:
            LOG.info("%s: output mode %s", decider.provider, decider.llm.mode)
            return
        await asyncio.sleep(PROBE_PAUSES[min(attempt, len(PROBE_PAUSES) - 1)])


def _with_questions(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with the schemas of both questions among its components."""
    _, schemas = models_json_schema(
        [(ProposalRequest, "validation"), (VerdictRequest, "validation")],
        ref_template=_COMPONENT + "{model}",
    )
    components = document["components"]["schemas"]
    for name, schema in schemas["$defs"].items():
        components.setdefault(name, schema)
    return document


def _documented(question: type[Model]) -> dict[str, Any]:
    """OpenAPI for a body that is read raw (bounded, strict JSON) before it is validated."""
    return {
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": {"$ref": _COMPONENT + question.__name__}}
                },
            }
        },
        "responses": {
            status: {"model": Problem, "description": text}
            for status, text in {
                400: "Not strict JSON",
                401: "No valid token",
                408: "Body too slow",
                413: "Body too large",
                422: "Not a valid question",
                503: "Too busy; see Retry-After",
            }.items()
        },
    }
