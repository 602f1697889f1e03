"""The operator with an agent service: it asks, stores, acts; and goes on when nobody answers."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmzero.api.proposals import Answered
from tests.fakes.operator import Seen
from tests.integration.conftest import Stand
from tests.integration.small_llm import small_llm
from tests.integration.test_agent_search import free_port, sensible, service, steering
from tests.unit.agent.scripted import ScriptedEndpoint

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KEY = "sk-integration-secret"
TREE = {"name": "llmzero", "options": {"explore": 0}, "maxDepth": 4}


def answers(seen: Seen) -> list[Answered]:
    found = [n.status.expansion for n in seen.nodes() if n.status.expansion]
    return [answer for expansion in found for answer in expansion.answers]


async def _until(condition: Callable[[], Any], seen: Seen, seconds: float = 100) -> Any:
    """What is asked of the API server, in a thread: endpoints in this loop go on answering."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(condition)
        if found:
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"it did not happen within {seconds:.0f} s\n{seen.describe()}")


def endpoints(folder: Path, url: str) -> tuple[str, str]:
    file = folder / "endpoints.yaml"
    file.write_text(json.dumps({"endpoints": {"local": {"url": url}}}))
    return "--agent-endpoints", str(file)


@pytest.mark.parametrize(
    ("strategy", "script", "template"),
    [(TREE, sensible, "proposal-"), ({"name": "skill", "options": {}}, steering, "skill-")],
    ids=["tree", "skill"],
)
async def test_a_search_grows_from_the_services_answers_and_on_without_it(
    strategy: dict[str, Any],
    script: Callable[[list[int]], Any],
    template: str,
    stand: Stand,
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_text(KEY)
    async with (
        ScriptedEndpoint(script([0])) as endpoint,
        service(
            "--provider", "openai", "--base-url", f"{endpoint.url}/v1", "--model", "scripted",
            "--key-file", key, "--no-vision",
        ) as (url, agent),
    ):  # fmt: skip
        with stand.operator(*endpoints(tmp_path, url)) as operator:
            seen = await asyncio.to_thread(
                stand.apply, strategy=strategy, budget={"stages": 10}, agent={"endpoint": "local"}
            )

            def told() -> bool:
                return sum(a.answered_by == "agent" for a in answers(seen)) >= 2

            await _until(told, seen)
            agent.kill()
            await _until(lambda: seen.phase() == "Complete", seen)
            said = operator.said()
    given = answers(seen)
    ours = [a for a in given if a.answered_by == "agent"]
    assert all(a.template.startswith(template) for a in ours)
    assert any(a.answered_by == "rules" and "endpoint" in a.note for a in given)
    proposers = {n.spec.provenance.proposer for n in seen.nodes()}
    assert "agent" in proposers
    ledger = seen.search().status.ledger
    assert ledger.agent_tokens == sum(a.usage.input_tokens + a.usage.output_tokens for a in given)
    assert KEY not in said + json.dumps(seen.get("trainingsearches,stagenodes,events"))


async def test_proposals_wait_in_the_status_until_they_are_approved(
    stand: Stand, tmp_path: Path
) -> None:
    stand.kubelet.seconds = 1.0  # of a fake step: a person is not as quick as the others are
    async with service() as (url, _):
        with stand.operator(*endpoints(tmp_path, url)):
            seen = await asyncio.to_thread(
                stand.apply,
                strategy=TREE, budget={"stages": 14}, agent={"endpoint": "local"}, approval="manual",
            )  # fmt: skip

            def waiting() -> list[str]:
                expansions = {n.name: n.status.expansion for n in seen.nodes()}
                return [n for n, e in expansions.items() if e and e.answers and e.approved is None]

            names = await _until(waiting, seen)
            assert not any(n.spec.parent == names[0] and n.spec.changes for n in seen.nodes())
            word = {"status": {"expansion": {"approved": True}}}
            await asyncio.to_thread(
                stand.kube.run, "patch", "stagenode", names[0], "-n", stand.namespace,
                "--subresource=status", "--type=merge", "-p", json.dumps(word),
            )  # fmt: skip
            await _until(
                lambda: any(n.spec.parent == names[0] and n.spec.changes for n in seen.nodes()),
                seen,
            )


@pytest.mark.timeout(900)
async def test_a_search_survives_a_real_small_model(stand: Stand, tmp_path: Path) -> None:
    """SmolLM2's advice is worthless or late; every answer that is stored can be used all the same."""
    stand.kubelet.seconds = 2.0  # of a fake step: a real stage outlasts an answer too
    async with (
        small_llm(free_port()) as model,
        service(
            "--provider", "openai", "--base-url", model, "--model", "smollm2", "--no-vision",
            "--max-input-tokens", "4000", "--max-output-tokens", "300", "--timeout-seconds", "10",
        ) as (url, _),
        httpx.AsyncClient(timeout=30) as client,
    ):  # fmt: skip
        while (await client.get(f"{url}/readyz")).json()["outputMode"] == "unknown":
            await asyncio.sleep(1)
        with stand.operator(*endpoints(tmp_path, url)):
            seen = await asyncio.to_thread(
                stand.apply, strategy=TREE, budget={"stages": 6}, agent={"endpoint": "local"}
            )
            await _until(lambda: seen.phase() == "Complete", seen, 600)
    given = answers(seen)
    assert given and all(a.answer.proposals for a in given)
    space = {p.name: p for p in seen.search().spec.parameters}
    for node in seen.nodes():
        assert not [n for n, v in node.spec.parameters.items() if space[n].problem_with(v)]
    print([(a.answered_by, a.note) for a in given])
