"""The client of an agent service against a scripted service: it always has an answer in time."""

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.proposals import Answered, BranchFrom, Proposal, ProposalAnswer, VerdictAnswer
from llmzero.api.spec import Agent
from llmzero.client import Endpoint, EndpointProposer, RulesProposer, SyncProposer
from llmzero.client.http import AgentClient, AgentUnavailable
from tests.unit.agent.questions import question, verdict_question
from tests.unit.agent.scripted import Received, Reply, ScriptedEndpoint, as_json

GOOD = ProposalAnswer(
    branch_from=BranchFrom(step=75, reason="the best evaluation"),
    proposals=[Proposal(changes={"learning_rate": 2e-6, "beta": 0.04}, rationale="go faster")],
)


def answered(**changes: Any) -> dict[str, Any]:
    answer = Answered(
        request_id=question().request_id,
        answered_by="agent",
        provider="openai:m",
        template="proposal-0",
        answer=GOOD,
    )
    return answer.with_(**changes).dump()


def client(url: str, **options: Any) -> AgentClient:
    return AgentClient("default", Endpoint(url=url, **options), jitter=random.Random(1))


async def test_an_answer_comes_back_typed_and_the_question_carries_its_deadline() -> None:
    async with ScriptedEndpoint([as_json(answered())]) as service:
        got = await client(service.url).propose(question(), 20)
    assert got.answer == GOOD
    assert got.answered_by == "agent"
    sent = service.seen[0]
    assert (sent.method, sent.path) == ("POST", "/v1/proposals")
    assert sent.headers["prefer"] == "wait=20"
    assert sent.json["requestId"] == question().request_id


async def test_the_token_is_read_again_when_it_rotates(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old-token\n")

    def script(request: Received) -> Reply:
        if request.headers["authorization"] == "Bearer new-token":
            return as_json(answered())
        token.write_text("new-token\n")
        return as_json({"detail": "no"}, 401)

    async with ScriptedEndpoint(script) as service:
        got = await client(service.url, token_file=token).propose(question(), 5)
    assert got.answered_by == "agent"
    assert len(service.seen) == 2


async def test_a_refused_token_is_not_tried_for_ever(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token-value")
    async with ScriptedEndpoint([as_json({}, 401)]) as service:
        with pytest.raises(AgentUnavailable, match="the token is refused") as caught:
            await client(service.url, token_file=token).propose(question(), 5)
    assert "secret-token-value" not in str(caught.value)
    assert len(service.seen) == 1


async def test_busy_is_asked_again_but_a_lost_answer_is_not_paid_for_twice() -> None:
    busy = as_json({"detail": "busy"}, 503, Retry_After="0")
    async with ScriptedEndpoint([busy, busy, as_json(answered())]) as service:
        assert (await client(service.url).propose(question(), 10)).answered_by == "agent"
        assert len(service.seen) == 3
    async with ScriptedEndpoint([Reply(drop=True), as_json(answered())]) as service:
        with pytest.raises(AgentUnavailable, match="the connection failed"):
            await client(service.url).propose(question(), 10)
        assert len(service.seen) == 1


async def test_retry_after_beyond_the_deadline_ends_at_the_deadline() -> None:
    busy = as_json({}, 429, Retry_After="3600")
    async with ScriptedEndpoint([busy]) as service:
        started = time.monotonic()
        with pytest.raises(AgentUnavailable, match=r"no answer within 0\.5 s"):
            await client(service.url).propose(question(), 0.5)
    assert time.monotonic() - started < 2


NESTED = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
HOSTILE: dict[str, tuple[Reply, str]] = {
    "never answers": (Reply(hang=True), "no answer within"),
    "trickles": (Reply(body=b" " * 1000, trickle=0.05), "no answer within"),
    "floods": (Reply(flood=100 * 1024 * 1024), "larger than 1048576 bytes"),
    "deep nesting": (as_json(NESTED), "larger than"),
    "nested within the size": (
        as_json(NESTED[:500_000] + NESTED[-100_000:]),
        "nested too deeply|not",
    ),
    "wrong schema": (as_json({"answer": 42}), "wrong form at"),
    "not json": (as_json(b"<html>"), "Expecting value"),
    "not utf-8": (as_json(b'"\xff"'), "not UTF-8"),
    "duplicate keys": (as_json(b'{"requestId":"a","requestId":"b"}'), "stands twice"),
    "nan": (as_json(b'{"usage":{"dollars":NaN}}'), "found NaN"),
    "overflow": (as_json(b'{"usage":{"dollars":1e999}}'), "only finite"),
    "redirect": (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), "HTTP 302"),
    "compressed": (Reply(200, b"x", {"Content-Encoding": "gzip"}), "compressed"),
    "server error": (as_json({"detail": "secret inside"}, 500), "HTTP 500"),
    "another question": (as_json(answered(request_id="other")), "another question"),
    "outside of the space": (
        as_json(
            answered(
                answer=GOOD.with_(
                    proposals=[Proposal(changes={"learning_rate": 0.4}, rationale="!")]
                )
            )
        ),
        "invalid answer: .*learning_rate",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_service_is_survived_with_the_rules(name: str) -> None:
    reply, why = HOSTILE[name]
    async with ScriptedEndpoint([reply]) as service:
        with pytest.raises(AgentUnavailable, match=why):
            await client(service.url, retries=0).propose(question(), 0.7)
        proposer = EndpointProposer({"default": Endpoint(url=service.url, retries=0)})
        agent = Agent(endpoint="default", timeout_seconds=1)
        got = await proposer.propose(question(), agent)
        await proposer.aclose()
    assert got.answered_by == "rules"
    assert got.note.startswith("endpoint default: ")
    assert "secret inside" not in got.note


async def test_an_endpoint_that_keeps_failing_is_left_alone_and_then_tried_again() -> None:
    now = [0.0]
    broken = [True]

    def script(_: Received) -> Reply:
        return as_json({}, 500) if broken[0] else as_json(answered())

    async with ScriptedEndpoint(script) as service:
        agent = AgentClient("default", Endpoint(url=service.url), clock=lambda: now[0])
        for _ in range(5):
            with pytest.raises(AgentUnavailable):
                await agent.propose(question(), 5)
        assert len(service.seen) == 3
        with pytest.raises(AgentUnavailable, match="left alone for 30 s more"):
            await agent.propose(question(), 5)
        now[0], broken[0] = 31.0, False
        assert (await agent.propose(question(), 5)).answered_by == "agent"
        await agent.aclose()


async def test_no_more_questions_in_flight_than_configured() -> None:
    running = [0, 0]

    class Counting(ScriptedEndpoint):
        async def _serve(self, *streams: Any) -> None:
            running[0] += 1
            running[1] = max(running)
            await super()._serve(*streams)
            running[0] -= 1

    async with Counting([Reply(**vars(as_json(answered())) | {"delay": 0.05})]) as service:
        agent = client(service.url, concurrency=2)
        await asyncio.gather(*(agent.propose(question(), 10) for _ in range(8)))
        await agent.aclose()
    assert running[1] <= 2


async def test_a_name_that_is_not_configured_means_rules_and_says_so() -> None:
    proposer = EndpointProposer({"big": Endpoint(url="http://127.0.0.1:9")})
    got = await proposer.propose(question(), Agent(endpoint="default"))
    assert got.answered_by == "rules"
    assert "no endpoint is configured under the name default; there are: big" in got.note
    assert (await proposer.propose(question(), None)).note == ""


async def test_no_service_at_all_means_rules_at_once() -> None:
    proposer = EndpointProposer({"default": Endpoint(url="http://127.0.0.1:9", retries=1)})
    got = await proposer.propose(question(), Agent(endpoint="default", timeout_seconds=10))
    assert got.answered_by == "rules"
    assert "cannot connect" in got.note


async def test_a_veto_comes_back_and_without_an_agent_arithmetic_stops() -> None:
    ask = verdict_question()
    veto = VerdictAnswer(
        request_id=ask.request_id, verdict="continue", reason="slope\n\x1b[31m", answered_by="agent"
    )
    async with ScriptedEndpoint([as_json(veto.dump())]) as service:
        proposer = EndpointProposer({"default": Endpoint(url=service.url)})
        got = await proposer.review(ask, Agent(endpoint="default"))
        await proposer.aclose()
    assert (got.verdict, got.reason) == ("continue", "slope [31m")
    stopped = await RulesProposer().review(ask, None)
    assert (stopped.verdict, stopped.reason, stopped.answered_by) == ("stop", ask.reason, "rules")


def test_code_without_a_loop_asks_through_a_thread() -> None:
    with SyncProposer(RulesProposer()) as proposer:
        assert proposer.propose(question(), None).answered_by == "rules"
        assert proposer.review(verdict_question(), None).verdict == "stop"


async def test_tls_trusts_the_configured_authority_and_no_other(
    tmp_path: Path, authority: Callable[[], tuple[Path, ssl.SSLContext]]
) -> None:
    ca_file, server_context = authority()
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        body = as_json(answered()).body
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    trusting = client(url, ca_file=ca_file)
    assert (await trusting.propose(question(), 5)).answered_by == "agent"
    await trusting.aclose()
    with pytest.raises(AgentUnavailable, match="cannot connect"):
        await client(url, retries=0).propose(question(), 5)
    assert len(seen) == 1
    server.close()


@pytest.mark.parametrize("status", [200, 422])
async def test_a_token_that_the_service_quotes_is_not_shown(tmp_path: Path, status: int) -> None:
    token = tmp_path / "token"
    token.write_text("a-secret-token\n")

    def script(request: Received) -> Reply:
        given = request.headers["authorization"]
        reply = answered(note=f"refused: {given}", provider=f"m {given}")
        reply["answer"]["proposals"][0]["rationale"] = f"as {given} wishes"
        reply["answer"]["branchFrom"]["reason"] = f"for {given}"
        if request.path == "/v1/verdicts":
            return as_json({"requestId": given, given: 1}, status)
        return as_json(reply, status)

    async with ScriptedEndpoint(script) as service:
        proposer = EndpointProposer(
            {"default": Endpoint(url=service.url, token_file=token, retries=0)}
        )
        agent = Agent(endpoint="default")
        proposed = await proposer.propose(question(), agent)
        verdict = await proposer.review(verdict_question(), agent)
        await proposer.aclose()
    assert proposed.note and verdict.note
    assert "a-secret-token" not in proposed.model_dump_json() + verdict.model_dump_json()
