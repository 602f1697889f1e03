"""Asking a language model for a typed answer: mode, repair round, and what went wrong in words."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field
from pydantic_ai import (
    Agent,
    BinaryContent,
    ModelRetry,
    Tool,
    ToolOutput,
)
from pydantic_ai.tools import RunContext
from pydantic_ai.usage import RunUsage, UsageLimits

from llmzero.agent.desk import Desk, Refused
from llmzero.agent.failures import LlmFailed, failed
from llmzero.agent.model import model, model_settings, output
from llmzero.agent.prompts import Prompt
from llmzero.agent.settings import MODES, AgentSettings, OutputMode
from llmzero.agent.transport import GuardedTransport
from llmzero.api.proposals import ProposalAnswer
from llmzero.client.tls import tls_context

LOG = logging.getLogger(__name__)
Draft = TypeVar("Draft", bound=BaseModel)
Result = TypeVar("Result")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judged(Generic[Result]):
    """What a draft means, and every problem with it (none: accepted)."""

    result: Result | None
    problems: list[str]


@dataclass(frozen=True, slots=True)
class LlmAnswer(Generic[Result]):
    result: Result
    repaired: bool


MOST_CALLS = 16
"""Requests to the model in one turn of the skill-based agent."""
PROBE_TOKENS = 1_000
"""For the probe's form of two fields: room for a model that thinks first."""


class _Probe(BaseModel):
    """A form."""

    model_config = ConfigDict(extra="forbid")

    word: Literal["ready"]
    number: int = Field(description="Any whole number")


class Llm:
    """One model behind one endpoint. Belongs to the event loop that first uses it."""

    def __init__(
        self, settings: AgentSettings, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._settings = settings
        anthropic = settings.provider == "anthropic"
        guarded = GuardedTransport(
            transport or httpx2.AsyncHTTPTransport(verify=tls_context(settings.ca_file)),
            key_file=settings.key_file,
            key_header="X-Api-Key" if anthropic else "Authorization",
            key_prefix="" if anthropic else "Bearer ",
        )
        self._http = httpx2.AsyncClient(
            transport=guarded,
            timeout=httpx2.Timeout(settings.timeout_seconds, connect=5.0),
            trust_env=False,
        )
        self._finding = asyncio.Lock()
        self.mode: OutputMode | None = None
        if settings.output_mode != "auto":
            self.mode = settings.output_mode

    async def aclose(self) -> None:
        await self._http.aclose()

    async def find_mode(self) -> None:
        """Find the strictest way to typed output that the endpoint supports; sets ``mode``.

        The form contradicts the prompt, so that only a decoder that is held to the schema fills
        it in. Raises :class:`LlmFailed` where the endpoint does not answer at all.
        """
        async with self._finding:
            if self.mode is None:
                self.mode = await self._strictest_mode()

    async def _strictest_mode(self) -> OutputMode:
        for mode in MODES:
            if mode == "guided-json" and self._settings.provider == "anthropic":
                continue
            held = mode in ("json-schema", "guided-json", "tool")
            asked = "Say only: hello." if held else "Fill in the form."
            prompt = Prompt("You are being tested.", asked, "", ())
            try:
                await self._run(mode, _Probe, prompt, None, _accepted, RunUsage(), repairs=0)
            except LlmFailed as error:
                if error.kind in ("unreachable", "unauthorized", "rate-limited", "too-large"):
                    raise
                LOG.info("output mode %s: %s", mode, error.kind)
            else:
                return mode
        LOG.warning("no output mode passed the probe; text is used and validated")
        return "text"

    async def ask(
        self,
        shape: type[Draft],
        prompt: Prompt,
        picture: bytes | None,
        judge: Callable[[Draft], Judged[Result]],
        usage: RunUsage,
    ) -> LlmAnswer[Result]:
        """One answer that ``judge`` accepts, after at most one repair that quotes its problems.

        ``usage`` counts the tokens, also of failures. Raises :class:`LlmFailed`.
        """
        await self.find_mode()
        assert self.mode is not None
        return await self._run(self.mode, shape, prompt, picture, judge, usage, repairs=1)

    async def steer(self, prompt: Prompt, desk: Desk, usage: RunUsage) -> LlmAnswer[ProposalAnswer]:
        """One turn of the skill-based agent with the tools of ``desk``.

        A turn that is broken off after something was accepted counts as ended there. ``usage``
        counts the tokens, also of failures. Raises :class:`LlmFailed`.
        """
        agent: Agent[None, Any] = Agent(
            model(self._settings, "tool", self._http),
            output_type=[
                ToolOutput(_corrected(desk.end_turn), name="end_turn"),
                ToolOutput(_corrected(desk.finish), name="finish"),
            ],
            instructions=prompt.system,
            tools=[
                Tool(_corrected(tool), takes_ctx=False)
                for tool in (desk.list_stages, desk.read_metrics, desk.start_stage, desk.stop_stage)
            ],
            retries=1,
            model_settings=model_settings(
                self._settings, "tool", BaseModel, self._settings.max_output_tokens
            ),
        )
        limits = UsageLimits(
            request_limit=MOST_CALLS,
            input_tokens_limit=MOST_CALLS * self._settings.max_input_tokens,
        )
        try:
            await agent.run(prompt.user, usage=usage, usage_limits=limits)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            why = failed(error, desk.problems, usage.requests)
            if why.kind != "invalid" or desk.problems:
                raise why from None
        return LlmAnswer(desk.answer, repaired=desk.refused > 0)

    async def _run(
        self,
        mode: OutputMode,
        shape: type[Draft],
        prompt: Prompt,
        picture: bytes | None,
        judge: Callable[[Draft], Judged[Result]],
        usage: RunUsage,
        *,
        repairs: int,
    ) -> LlmAnswer[Result]:
        judged: list[Judged[Result]] = []
        agent: Agent[None, Any] = Agent(
            model(self._settings, mode, self._http),
            output_type=output(mode, shape),
            instructions=prompt.system,
            retries=repairs,
            model_settings=model_settings(
                self._settings,
                mode,
                shape,
                PROBE_TOKENS if shape is _Probe else self._settings.max_output_tokens,
            ),
        )

        @agent.output_validator
        def check(context: RunContext[None], draft: Any) -> Any:
            verdict = judge(draft)
            judged.append(verdict)
            if verdict.problems:
                raise ModelRetry(repair_request(verdict.problems))
            return draft

        question: str | list[Any] = prompt.user
        if picture is not None and self._settings.vision:
            question = [prompt.user, BinaryContent(data=picture, media_type="image/png")]
        try:
            await agent.run(
                question, usage=usage, usage_limits=UsageLimits(request_limit=1 + repairs)
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise failed(error, judged[-1].problems if judged else [], usage.requests) from None
        result = judged[-1].result
        assert result is not None
        return LlmAnswer(result, repaired=usage.requests > 1)


def _corrected(tool: Callable[P, T]) -> Callable[P, T]:
    """The tool with its refusals as requests to the model to correct the call."""

    @wraps(tool)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return tool(*args, **kwargs)
        except Refused as error:
            raise ModelRetry(str(error)) from None

    return call


def repair_request(problems: list[str]) -> str:
    """The text of the repair round: every problem, at most twenty."""
    lines = "\n".join(f"- {p}" for p in problems[:20])
    return f"The answer breaks these rules:\n{lines}\nGive the whole answer again, corrected."


def _accepted(draft: _Probe) -> Judged[_Probe]:
    return Judged(draft, [])
