"""The seam between an engine and whoever answers: ``Ask`` and ``Review`` decisions go through it.

A proposer never raises and never answers late: where the agent does not answer, the rules do, and
the answer's ``note`` says why.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from llmzero import rules
from llmzero.api.proposals import Answered, ProposalRequest, VerdictAnswer, VerdictRequest
from llmzero.api.spec import Agent
from llmzero.client.endpoints import Endpoint
from llmzero.client.http import AgentClient, AgentUnavailable
from llmzero.client.judge import clean

T = TypeVar("T")


class Proposer(Protocol):
    """``agent`` is the search's ``spec.agent``; None means the built-in rules."""

    async def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered: ...

    async def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer: ...


class RulesProposer:
    """The embedded proposer: no network, deterministic."""

    async def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered:
        return by_rules(request, "")

    async def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer:
        return by_arithmetic(request, "")


class EndpointProposer:
    """Asks the endpoint that the search names; the rules answer where it does not."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._clients = {name: AgentClient(name, e) for name, e in endpoints.items()}

    async def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered:
        if agent is None:
            return by_rules(request, "")
        try:
            return await self._client(agent).propose(request, agent.timeout_seconds)
        except AgentUnavailable as error:
            return by_rules(request, str(error))

    async def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer:
        if agent is None:
            return by_arithmetic(request, "")
        try:
            return await self._client(agent).review(request, agent.timeout_seconds)
        except AgentUnavailable as error:
            return by_arithmetic(request, str(error))

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, agent: Agent) -> AgentClient:
        try:
            return self._clients[agent.endpoint]
        except KeyError:
            known = ", ".join(sorted(self._clients)) or "none"
            raise AgentUnavailable(
                f"no endpoint is configured under the name {agent.endpoint}; there are: {known}"
            ) from None


def by_rules(request: ProposalRequest, note: str) -> Answered:
    """The rules' answer; ``note`` says why they stood in (empty where they were asked for)."""
    return Answered(
        request_id=request.request_id,
        answered_by="rules",
        provider="rules",
        answer=rules.propose(request),
        note=clean(note, 512),
    )


def by_arithmetic(request: VerdictRequest, note: str) -> VerdictAnswer:
    """No veto: the arithmetic's case for stopping stands."""
    return VerdictAnswer(
        request_id=request.request_id,
        verdict="stop",
        reason=request.reason,
        answered_by="rules",
        provider="rules",
        note=clean(note, 512),
    )


class SyncProposer:
    """A proposer for code without an event loop; owns a thread with one. Use as a context."""

    def __init__(self, proposer: Proposer) -> None:
        self._proposer = proposer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="agent", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(self._proposer, EndpointProposer):
            self._run(self._proposer.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered:
        return self._run(self._proposer.propose(request, agent))

    def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer:
        return self._run(self._proposer.review(request, agent))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
