"""Questions to the agent in the background; what it answers is stored on the stage."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from llmzero.api.proposals import Answered, VerdictAnswer, stood_in
from llmzero.api.spec import Agent, SearchSpec
from llmzero.api.stage import Audit, StageNode, StageStatus
from llmzero.client.proposer import Proposer
from llmzero.controller.metrics import AGENT_CALLS
from llmzero.controller.store import Key
from llmzero.controller.transport import ApiError
from llmzero.search.decisions import Ask, Review
from llmzero.search.expansion import with_answer
from llmzero.search.lifecycle import request_stop
from llmzero.search.stopping import after_review

log = logging.getLogger(__name__)

Change = Callable[[StageNode], StageStatus]
Keep = Callable[[Key, str, Change], Coroutine[Any, Any, None]]
"""Stores a change of a stage's status, however often somebody else writes first."""


class Asking:
    """Each question is asked once at a time; the plan asks again until its answer is stored."""

    def __init__(
        self,
        proposer: Proposer,
        clock: Callable[[], datetime],
        endpoints: frozenset[str] = frozenset(),
    ) -> None:
        self._proposer = proposer
        self._endpoints = endpoints
        self._clock = clock
        self._tasks: dict[tuple[Key, str], asyncio.Task[None]] = {}
        self.keep: Keep | None = None

    def ask(self, search: Key, question: Ask | Review, spec: SearchSpec) -> None:
        name = (search, question.request.request_id)
        if name in self._tasks:
            return
        work = self._answer if isinstance(question, Ask) else self._verdict
        task = asyncio.create_task(work(search, question, spec))  # type: ignore[arg-type]
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    def close(self) -> None:
        for task in list(self._tasks.values()):
            task.cancel()

    async def _answer(self, search: Key, ask: Ask, spec: SearchSpec) -> None:
        answer = await self._proposer.propose(ask.request, spec.agent)
        self._count(spec.agent, answer)
        manual, now = spec.approval == "manual", self._clock()

        def change(node: StageNode) -> StageStatus:
            expansion = with_answer(node.status.expansion, answer, manual, now)
            return node.status.with_(expansion=expansion)

        await self._store(search, ask.node, change)

    async def _verdict(self, search: Key, review: Review, spec: SearchSpec) -> None:
        answer = await self._proposer.review(review.request, spec.agent)
        self._count(spec.agent, answer)

        def change(node: StageNode) -> StageStatus:
            status = node.status
            if status.phase.final or status.stop is not None:
                return status
            stored = after_review(review.request, answer, status.step, self._clock())
            if isinstance(stored, Audit):
                return status.with_(audit=stored)
            return request_stop(node, stored)

        await self._store(search, review.node, change)

    def _count(self, agent: Agent | None, answer: Answered | VerdictAnswer) -> None:
        """Names that tenants invent are no labels."""
        asked = agent.endpoint if agent is not None else "built-in"
        endpoint = asked if agent is None or asked in self._endpoints else "unknown"
        AGENT_CALLS.labels(endpoint, "stand-in" if stood_in(answer) else answer.answered_by).inc()

    async def _store(self, search: Key, node: str, change: Change) -> None:
        assert self.keep is not None
        try:
            await self.keep(search, node, change)
        except ApiError as error:
            log.warning("an answer for %s was lost, it is asked for again: %s", node, error)
