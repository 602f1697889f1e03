"""One decision: the model within its deadline, or the rules and a note that says why."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from pydantic_ai.usage import RunUsage

from llmzero.agent.desk import Desk
from llmzero.agent.failures import ENDPOINT_FAILURES, LlmFailed
from llmzero.agent.llm import Judged, Llm, LlmAnswer
from llmzero.agent.metrics import Metrics
from llmzero.agent.prices import Price, dollars
from llmzero.agent.prompts import (
    Prompt,
    PromptTooLong,
    proposal_prompt,
    steer_prompt,
    verdict_prompt,
)
from llmzero.agent.settings import AgentSettings
from llmzero.agent.shapes import ProposalDraft, VerdictDraft, proposal_shape
from llmzero.api.proposals import (
    Answered,
    ProposalAnswer,
    ProposalRequest,
    Usage,
    VerdictAnswer,
    VerdictRequest,
)
from llmzero.client.breaker import Breaker
from llmzero.client.judge import clean, problems, settled
from llmzero.client.proposer import by_arithmetic, by_rules
from llmzero.plots import proposal_picture, verdict_picture

RESERVE = 1.0
"""Seconds of a deadline kept for the rules and the way back (a tenth where that is less)."""
PATIENCE = 10.0
"""Seconds after which a missing answer is the endpoint's fault: a caller that waits for one second
shall not silence the model for everybody."""

Result = TypeVar("Result")
Answering: TypeAlias = Coroutine[Any, Any, LlmAnswer[Result]]
QuestionT = TypeVar("QuestionT", ProposalRequest, VerdictRequest)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Question:
    """What both kinds of decision share."""

    prompt: Callable[[], Prompt]
    picture: Callable[[], bytes | None]


class Decider:
    """Answers questions with the model, and with the rules where it fails. Never raises."""

    def __init__(
        self,
        settings: AgentSettings,
        llm: Llm | None,
        prices: dict[str, Price],
        metrics: Metrics,
        breaker: Breaker | None = None,
    ) -> None:
        self.settings = settings
        self.llm = llm
        self.breaker = breaker or Breaker()
        self._prices = prices
        self._metrics = metrics
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._plotter = ThreadPoolExecutor(1, "plots")  # matplotlib is not for several threads

    async def propose(self, request: ProposalRequest, seconds: float) -> Answered:
        """Diagnosis, branch point and proposals within ``seconds``."""
        started, tokens = time.monotonic(), RunUsage()
        steers, most = request.mode == "steer", self.settings.max_input_tokens
        if steers:  # half of the tokens are for what it reads
            question = _Question(lambda: steer_prompt(request, most // 2), lambda: None)
        else:
            question = _Question(
                lambda: proposal_prompt(request, most, self.settings.vision),
                lambda: _drawn(proposal_picture, request),
            )

        def judge(draft: ProposalDraft) -> Judged[ProposalAnswer]:
            try:
                answer = settled(request, draft.to_answer())
            except ValueError as error:
                return Judged(None, [clean(str(error), 300)])
            return Judged(answer, problems(request, answer))

        def work(llm: Llm, prompt: Prompt, picture: bytes | None) -> Answering[ProposalAnswer]:
            if steers:
                return llm.steer(prompt, Desk(request, most - prompt.tokens), tokens)
            return llm.ask(proposal_shape(request), prompt, picture, judge, tokens)

        asked = await self._ask(question, work, seconds)
        usage = self._usage(tokens, started)
        if isinstance(asked, str):
            answered = by_rules(request, asked).with_(usage=usage)
        else:
            prompt, answer = asked
            answered = Answered(
                request_id=request.request_id,
                answered_by="repaired" if answer.repaired else "agent",
                provider=self.provider,
                template=prompt.version,
                answer=answer.result,
                usage=usage,
                note=self._priceless(tokens),
            )
        self._record("proposal", answered)
        return answered

    async def review(self, request: VerdictRequest, seconds: float) -> VerdictAnswer:
        """Whether a doomed stage may go on, within ``seconds``."""
        started, tokens = time.monotonic(), RunUsage()
        question = _Question(
            lambda: verdict_prompt(request, self.settings.max_input_tokens, self.settings.vision),
            lambda: _drawn(verdict_picture, request),
        )

        def judge(draft: VerdictDraft) -> Judged[VerdictDraft]:
            return Judged(draft, [] if draft.reason.strip() else ["reason: found nothing"])

        def work(llm: Llm, prompt: Prompt, picture: bytes | None) -> Answering[VerdictDraft]:
            return llm.ask(VerdictDraft, prompt, picture, judge, tokens)

        asked = await self._ask(question, work, seconds)
        usage = self._usage(tokens, started)
        if isinstance(asked, str):
            verdict = by_arithmetic(request, asked).with_(usage=usage)
        else:
            prompt, answer = asked
            verdict = VerdictAnswer(
                request_id=request.request_id,
                verdict=answer.result.verdict,
                reason=clean(answer.result.reason, 1024),
                answered_by="repaired" if answer.repaired else "agent",
                provider=self.provider,
                template=prompt.version,
                usage=usage,
                note=self._priceless(tokens),
            )
        self._record("verdict", verdict)
        return verdict

    @property
    def provider(self) -> str:
        """``rules``, or provider and model."""
        settings = self.settings
        if self.llm is None:
            return "rules"
        return clean(f"{settings.provider}:{settings.model}", 128)

    async def aclose(self) -> None:
        self._plotter.shutdown(wait=False, cancel_futures=True)
        if self.llm is not None:
            await self.llm.aclose()

    async def _ask(
        self,
        question: _Question,
        work: Callable[[Llm, Prompt, bytes | None], Answering[Result]],
        seconds: float,
    ) -> tuple[Prompt, LlmAnswer[Result]] | str:
        """The model's answer, or why there is none (empty where rules were asked for)."""
        if self.llm is None:
            return ""
        seconds -= min(RESERVE, seconds / 10)
        if not self.breaker.allow(seconds):
            self._metrics.failed("resting")
            wait = self.breaker.wait
            return f"the model's endpoint keeps failing and is left alone for {wait:.0f} s more"
        begun = False
        try:
            async with asyncio.timeout(seconds), self._slots:
                begun = True
                prompt = await self._in_thread(question.prompt)
                picture = await self._in_thread(question.picture) if self.settings.vision else None
                answer = await work(self.llm, prompt, picture)
        except TimeoutError:
            kind = "deadline" if begun else "queue"
            words = f"no {'valid answer' if begun else 'free slot'} within {seconds:.3g} s"
        except PromptTooLong as error:
            kind, words = "too-long", f"the question does not fit: {error}"
        except LlmFailed as error:
            kind, words = error.kind, str(error)
        else:
            self.breaker.success()
            return prompt, answer
        if kind in ENDPOINT_FAILURES or (kind == "deadline" and seconds >= PATIENCE):
            self.breaker.failure()
        elif kind not in ("deadline", "queue"):
            self.breaker.success()
        self._metrics.failed(kind)
        return f"{self.provider}: {words}"

    def _record(self, decision: str, answer: Answered | VerdictAnswer) -> None:
        usage = answer.usage
        self._metrics.answered(decision, answer.answered_by, usage)
        LOG.info(
            "%s %s: %s, %d + %d tokens, %.4f dollars, %.2f s%s",
            decision,
            clean(answer.request_id, 128),
            answer.answered_by,
            usage.input_tokens,
            usage.output_tokens,
            usage.dollars,
            usage.seconds,
            f" ({answer.note})" if answer.note else "",
        )

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._plotter, work)

    def _usage(self, tokens: RunUsage, started: float) -> Usage:
        return Usage(
            input_tokens=tokens.input_tokens,
            output_tokens=tokens.output_tokens,
            dollars=self._dollars(tokens) or 0.0,
            seconds=time.monotonic() - started,
        )

    def _dollars(self, tokens: RunUsage) -> float | None:
        return dollars(tokens, self.settings, self._prices)

    def _priceless(self, tokens: RunUsage) -> str:
        if self._dollars(tokens) is not None:
            return ""
        return f"no price is known for {clean(self.settings.model, 128)}: counted as 0 dollars"


def _drawn(draw: Callable[[QuestionT], bytes], request: QuestionT) -> bytes | None:
    """The plot, or None: a curve that cannot be drawn is no reason to answer nothing."""
    try:
        return draw(request)
    except (ValueError, ArithmeticError, MemoryError) as error:
        LOG.warning("no plot: %s", type(error).__name__)
        return None
