"""Searches that grow from an agent service's answers, with the real trainer on the tiny model."""

import asyncio
import json
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmzero.api.proposals import Answered
from llmzero.cli.approve import approve, reject
from llmzero.local.store import RunDirectory, read_run
from tests.unit.agent.scripted import Received, Reply, ScriptedEndpoint
from tests.unit.agent.wire import filled, is_probe, openai_tool

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
MANIFEST: dict[str, Any] = {
    "apiVersion": "llmzero.dev/v1alpha1",
    "kind": "TrainingSearch",
    "metadata": {"name": "asked"},
    "spec": {
        "model": {"builtin": "scratchpad-addition"},
        "task": {
            "name": "scratchpad-addition",
            "splits": {"train": 400, "search": 40, "promote": 40, "heldOut": 60},
        },
        "parameters": [
            {"name": "learning_rate", "role": "regularization", "min": 1e-6, "max": 1e-3,
             "scale": "log", "initial": 1e-4},
            {"name": "temperature", "role": "regularization", "min": 0.4, "max": 1.5,
             "initial": 1.0},
        ],
        "fixed": {
            "per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 12,
        },
        "stage": {"steps": 4, "promptsPerStep": 4, "evalEvery": 2, "checkpointEvery": 2},
        "strategy": {
            "name": "llmzero", "options": {"explore": 0}, "parallelism": 1, "maxDepth": 4,
            "earlyStopping": {"enabled": False},
        },
        "budget": {"stages": 14},
    },
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@asynccontextmanager
async def service(*options: str | Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """``llmzero agent`` as a process of its own: its URL, and the process."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmzero.cli.main", "agent", "--port", str(port), *map(str, options),
        cwd=ROOT, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            for _ in range(600):
                assert process.returncode is None
                try:
                    await client.get(f"{url}/readyz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield url, process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def search(folder: Path, url: str, **spec: Any) -> tuple[asyncio.subprocess.Process, Path]:
    """``llmzero run`` with that service; ``spec`` replaces sections of the manifest's."""
    file, directory = folder / "search.yaml", folder / "run"
    file.write_text(json.dumps({**MANIFEST, "spec": {**MANIFEST["spec"], **spec}}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmzero.cli.main", "run", str(file), "--dir", str(directory),
        "--agent", url, cwd=ROOT, env=ENVIRONMENT, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return process, directory


def answers(run: RunDirectory) -> list[Answered]:
    return [
        a
        for node in run.nodes.values()
        if node.status.expansion
        for a in node.status.expansion.answers
    ]


def sensible(calls: list[int]) -> Any:
    """A stand-in for a model (it is none): another learning rate at each call."""

    def script(request: Received) -> Reply:
        text = request.body.decode().replace('\\"', '"')
        now = re.search(r'"name":"learning_rate".*?"now":([0-9.e-]+)', text)
        steps = re.search(r"checkpoints to branch from: \[([0-9,]+)\]", text)
        if now is None or steps is None:
            return filled(request, {})
        calls[0] += 1
        value = float(now[1]) * (1.9, 0.5, 1.5, 0.7, 1.25, 0.85)[calls[0] % 6]
        return filled(
            request,
            {
                "diagnosis": [],
                "branch_step": int(steps[1].split(",")[-1]),
                "branch_reason": "the last",
                "proposals": [
                    {
                        "changes": [
                            {"parameter": "learning_rate", "value": min(max(value, 1e-6), 1e-3)}
                        ],
                        "reset_optimizer": True,
                        "reset_reference": True,
                        "rationale": "a scripted step",
                        "expected": [{"metric": "eval/accuracy", "change": 0.01}],
                        "confidence": 0.5,
                        "justification": "",
                    }
                ],
            },
        )

    return script


@pytest.mark.slow
async def test_a_tree_grows_from_the_services_answers_and_on_without_it(tmp_path: Path) -> None:
    key, prices = tmp_path / "key", tmp_path / "prices.yaml"
    key.write_text("sk-integration-secret")
    prices.write_text("scripted: {input: 1, output: 2}\n")
    calls = [0]
    async with (
        ScriptedEndpoint(sensible(calls)) as endpoint,
        service(
            "--provider", "openai", "--base-url", f"{endpoint.url}/v1", "--model", "scripted",
            "--key-file", key, "--prices-file", prices, "--no-vision",
        ) as (url, agent),
    ):  # fmt: skip
        process, directory = await search(tmp_path, url)
        stopped = False
        while process.returncode is None:
            await asyncio.sleep(0.3)
            # The service goes away for good once its first answer is stored.
            if not stopped and any(
                '"answeredBy": "agent"' in f.read_text() for f in directory.glob("nodes/*.json")
            ):
                agent.kill()
                stopped = True
            if process.returncode is None and not stopped and agent.returncode is not None:
                raise AssertionError("the service died by itself")
        code = await process.wait()
    assert (code, stopped) == (0, True)
    run = read_run(directory)
    assert run.search.status.phase == "Complete"
    given = answers(run)
    assert {a.answered_by for a in given} == {"agent", "rules"}
    ours = next(a for a in given if a.answered_by == "agent")
    assert (ours.provider, ours.note) == ("openai:scripted", "")
    assert ours.template.startswith("proposal-")
    assert ours.usage.dollars > 0
    theirs = [a.note for a in given if a.answered_by == "rules"]
    assert all("endpoint" in note for note in theirs)
    assert any("cannot connect" in n or "connection failed" in n for n in theirs)
    proposers = {n.spec.provenance.proposer for n in run.nodes.values()}
    assert {"agent", "rules", "continue"} <= proposers
    ledger = run.search.status.ledger
    assert ledger.agent_tokens == sum(a.usage.input_tokens + a.usage.output_tokens for a in given)
    assert ledger.agent_dollars == pytest.approx(sum(a.usage.dollars for a in given))
    stored = "".join(f.read_text() for f in directory.rglob("*.json"))
    assert "sk-integration-secret" not in stored


def text_of(directory: Path) -> str:
    return "".join(file.read_text() for file in sorted(directory.glob("nodes/[!.]*.json")))


async def watched(process: asyncio.subprocess.Process, directory: Path) -> AsyncIterator[str]:
    """The stored objects' text, again and again while the search runs."""
    while process.returncode is None:
        await asyncio.sleep(0.3)
        yield text_of(directory)


@pytest.mark.slow
async def test_when_the_agents_budget_is_spent_the_rules_take_over_and_say_so(
    tmp_path: Path,
) -> None:
    key = tmp_path / "key"
    key.write_text("sk-integration-secret")
    async with (
        ScriptedEndpoint(sensible([0])) as endpoint,
        service(
            "--provider", "openai", "--base-url", f"{endpoint.url}/v1", "--model", "scripted",
            "--key-file", key, "--no-vision",
        ) as (url, _),
    ):  # fmt: skip
        budget = {"stages": 10, "agentTokens": 3000}
        process, directory = await search(tmp_path, url, budget=budget)
        assert await process.wait() == 0
    run = read_run(directory)
    given = answers(run)
    by_agent = [a for a in given if a.answered_by == "agent"]
    spent = [a for a in given if a.note == "the agent's budget is spent"]
    # An answer takes 3200 tokens; questions that were under way when it came are paid, too.
    assert 1 <= len(by_agent) <= 3 and spent
    assert run.search.status.ledger.agent_tokens == 3200 * len(by_agent)
    assert run.search.status.phase == "Complete"


def steering(calls: list[int]) -> Any:
    """A stand-in for the skill-based agent (it is none): lists, starts one stage, ends the turn.

    What it starts goes on from the best stage, unchanged and with another learning rate in turn.
    """

    def script(request: Received) -> Reply:
        if is_probe(request):
            return filled(request, {})
        body = request.json
        said = [m for m in body["messages"] if m["role"] == "tool"]
        if not said:
            return openai_tool({}, "list_stages")
        if len(said) > 1:
            return openai_tool({"summary": "one started"}, "end_turn")
        stages = [json.loads(line) for line in said[0]["content"].splitlines()]
        able = [s for s in stages if s.get("value") and s.get("checkpoints")]
        best = max(able, key=lambda s: s["value"][0])
        calls[0] += 1
        ended = best["checkpoints"][-1]
        changes = [] if calls[0] % 2 else [{"parameter": "temperature", "value": 0.9}]
        return openai_tool(
            {
                "stage": best["stage"], "step": ended, "changes": changes,
                "reset_optimizer": bool(changes), "reset_reference": bool(changes),
                "rationale": "a scripted step",
            },
            "start_stage",
        )  # fmt: skip

    return script


@pytest.mark.slow
async def test_the_skill_based_agent_steers_a_search_and_the_rules_after_it(tmp_path: Path) -> None:
    key, calls = tmp_path / "key", [0]
    key.write_text("sk-integration-secret")
    strategy = {**MANIFEST["spec"]["strategy"], "name": "skill", "options": {}}
    async with (
        ScriptedEndpoint(steering(calls)) as endpoint,
        service(
            "--provider", "openai", "--base-url", f"{endpoint.url}/v1", "--model", "scripted",
            "--key-file", key,
        ) as (url, agent),
    ):  # fmt: skip
        process, directory = await search(tmp_path, url, strategy=strategy, budget={"stages": 7})
        async for stored in watched(process, directory):
            if stored.count('"answeredBy": "agent"') >= 3 and agent.returncode is None:
                agent.kill()
    assert process.returncode == 0
    run = read_run(directory)
    given = answers(run)
    assert run.search.status.phase == "Complete"
    turns = [a for a in given if a.answered_by == "agent"]
    assert len(turns) >= 3 and all(a.template.startswith("skill-") for a in turns)
    assert any(a.answered_by == "rules" and "endpoint" in a.note for a in given)
    trains = [n for n in run.nodes.values() if n.spec.purpose == "Train"]
    assert sum(n.spec.provenance.proposer == "agent" for n in trains) >= 3
    assert len(trains) == 7
    ledger = run.search.status.ledger
    assert ledger.stages_spent == 7
    assert ledger.agent_tokens == 3 * 3200 * len(turns)


@pytest.mark.slow
async def test_proposals_wait_for_a_person_and_nothing_else_does(tmp_path: Path) -> None:
    """``llmzero approve`` and ``reject`` while the search runs."""

    async with service() as (url, _):
        process, directory = await search(tmp_path, url, approval="manual", budget={"stages": 10})
        told: dict[str, str] = {}
        async for _ in watched(process, directory):
            if not (directory / "search.json").exists():
                continue
            for node in sorted(read_run(directory).nodes.values(), key=lambda n: n.name):
                if node.status.undecided and node.name not in told:
                    told[node.name] = "approve" if told else "reject"
                    (approve if told[node.name] == "approve" else reject)(
                        directory, [node.spec.path]
                    )
    assert process.returncode == 0
    run = read_run(directory)
    assert run.search.status.phase == "Complete"
    assert "reject" in told.values() and "approve" in told.values()
    made = {n.spec.parent for n in run.nodes.values() if n.spec.provenance.proposal is not None}
    assert made and made <= {name for name, word in told.items() if word == "approve"}
    rejected = run.nodes[next(n for n, word in told.items() if word == "reject")]
    assert rejected.status.expansion is not None and rejected.status.expansion.approved is False
