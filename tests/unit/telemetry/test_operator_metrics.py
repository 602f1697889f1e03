"""What the operator adds: its stored objects on its page, agent calls with bounded labels."""

import asyncio
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from llmzero.api.proposals import Answered, ProposalAnswer, ProposalRequest, VerdictAnswer
from llmzero.api.spec import Agent
from llmzero.api.stage import Phase, StageStatus
from llmzero.controller.asking import Asking
from llmzero.controller.metrics import AGENT_CALLS
from llmzero.controller.operator import Operator, Settings
from llmzero.controller.store import Group
from llmzero.search.decisions import Ask
from llmzero.telemetry import SearchCollector
from tests.unit.builders import NOW, search, stage


class FakeProposer:
    """Answers at once, as who it is told to be."""

    def __init__(self, answered_by: str, note: str) -> None:
        self.said = {"answeredBy": answered_by, "note": note}

    async def propose(self, request: Any, agent: Agent | None) -> Answered:
        answer = ProposalAnswer.model_validate({"branchFrom": {"step": 1}, "proposals": []})
        return Answered.model_validate({"requestId": "r", "answer": answer, **self.said})

    async def review(self, request: Any, agent: Agent | None) -> VerdictAnswer:
        return VerdictAnswer.model_validate(
            {"requestId": "r", "verdict": "stop", "reason": "", **self.said}
        )


@pytest.mark.parametrize(
    ("endpoint", "answered_by", "note", "labels"),
    [
        ("default", "agent", "", ("default", "agent")),
        ("default", "rules", "connection refused", ("default", "stand-in")),
        ("default", "rules", "", ("default", "rules")),
        ("invented-by-a-tenant", "rules", "not configured", ("unknown", "stand-in")),
        (None, "rules", "", ("built-in", "rules")),
    ],
)
async def test_an_agent_call_is_counted_by_endpoint_and_result(
    endpoint: str | None, answered_by: str, note: str, labels: tuple[str, str]
) -> None:
    kept = asyncio.Event()

    async def keep(*_: Any) -> None:
        kept.set()

    asking = Asking(FakeProposer(answered_by, note), lambda: NOW, frozenset({"default"}))
    asking.keep = keep
    before = AGENT_CALLS.labels(*labels)._value.get()
    agent = Agent(endpoint=endpoint) if endpoint else None
    request = ProposalRequest.model_construct(request_id="r")
    spec = search().spec.with_(agent=agent)
    asking.ask(("research", "demo"), Ask(node="n", request=request), spec)
    await asyncio.wait_for(kept.wait(), 5)
    assert AGENT_CALLS.labels(*labels)._value.get() == before + 1


async def test_the_operators_page_shows_what_its_store_holds() -> None:
    operator = Operator(Settings(), cast(Any, None))
    registry = CollectorRegistry()
    registry.register(SearchCollector(operator.snapshot, lambda: NOW, fresh_seconds=0))
    assert "llmzero_search_info{" not in generate_latest(registry).decode()
    body = search().dump()
    body["metadata"] |= {"namespace": "research", "resourceVersion": "1"}
    operator.store.put("TrainingSearch", body)
    page = generate_latest(registry).decode()
    assert 'namespace="research"' in page and 'search="test"' in page
    operator.store.remove("TrainingSearch", body)
    assert "llmzero_search_info{" not in generate_latest(registry).decode()


def test_a_running_stage_is_shown_as_it_was_heard_not_as_it_was_last_stored() -> None:
    """A stage of half a minute would end before any of its steps are stored."""
    stored = StageStatus(phase=Phase.RUNNING, attempt_count=2)
    node = stage("0", status=stored)
    group = Group(("research", "test"), nodes={node.name: node})
    assert group.seen(node) is node
    group.live[node.name] = stored.with_(step=7)
    assert group.seen(node).status.step == 7
    for later in (stored.with_(attempt_count=3), stored.with_(phase=Phase.SUCCEEDED)):
        assert group.seen(node.with_(status=later)).status.step == 0
