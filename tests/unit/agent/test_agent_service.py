"""The HTTP service as its callers and its operators see it."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmzero.agent.app import create_app
from llmzero.agent.openapi import document
from llmzero.agent.settings import AgentSettings
from llmzero.api.proposals import Answered, VerdictAnswer
from llmzero.client.judge import problems
from tests.unit.agent.questions import question, verdict_question
from tests.unit.agent.scripted import Received, Reply, ScriptedEndpoint, as_json
from tests.unit.agent.wire import BAD, GOOD, filled, openai_error

KEY = "sk-very-secret-key-0123456789"
TOKEN = "service-token-abcdefgh"


@asynccontextmanager
async def service(settings: AgentSettings) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            yield client


def with_model(url: str, tmp_path: Path, **more: Any) -> AgentSettings:
    key = tmp_path / "key"
    key.write_text(KEY)
    return AgentSettings.model_validate(
        {"provider": "openai", "base_url": f"{url}/v1", "model": "m", "key_file": key,
         "retries": 0, "vision": False, "output_mode": "tool", **more}
    )  # fmt: skip


async def ask(client: httpx.AsyncClient, **options: Any) -> httpx.Response:
    return await client.post("/v1/proposals", json=question().dump(), **options)


async def test_rules_need_no_network_and_pass_their_own_judge() -> None:
    async with service(AgentSettings()) as client:
        reply = await ask(client)
        verdict = await client.post("/v1/verdicts", json=verdict_question().dump())
    answered = Answered.model_validate(reply.json())
    assert (answered.answered_by, answered.provider, answered.note) == ("rules", "rules", "")
    assert answered.request_id == question().request_id
    assert problems(question(), answered.answer) == []
    assert VerdictAnswer.model_validate(verdict.json()).verdict == "stop"


async def test_the_model_answers_proposals_and_verdicts(tmp_path: Path) -> None:
    veto = {"verdict": "continue", "reason": "eval/accuracy rises by 0.02 from step 50 to 75"}

    def script(request: Received) -> Reply:
        return filled(request, veto if b"Continue or stop?" in request.body else GOOD)

    async with (
        ScriptedEndpoint(script) as endpoint,
        service(with_model(endpoint.url, tmp_path)) as client,
    ):
        answered = Answered.model_validate((await ask(client)).json())
        reply = await client.post("/v1/verdicts", json=verdict_question().dump())
    verdict = VerdictAnswer.model_validate(reply.json())
    assert answered.answered_by == verdict.answered_by == "agent"
    assert answered.template.startswith("proposal-")
    assert (verdict.verdict, verdict.reason) == ("continue", veto["reason"])
    assert verdict.template.startswith("verdict-")


async def test_a_duplicate_in_flight_joins_the_running_call(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        reply = filled(request, GOOD)
        reply.delay = 0.3
        return reply

    async with (
        ScriptedEndpoint(script) as endpoint,
        service(with_model(endpoint.url, tmp_path)) as client,
    ):
        replies = await asyncio.gather(*(ask(client) for _ in range(5)))
        assert len(endpoint.seen) == 1
        other = question(request_id="another").dump()
        await client.post("/v1/proposals", json=other)
        assert len(endpoint.seen) == 2
        metrics = (await client.get("/metrics")).text
    assert len({r.text for r in replies}) == 1
    assert "llmzero_agent_joined_total 4.0" in metrics


async def test_a_caller_that_hangs_up_does_not_end_the_call_of_the_others(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        reply = filled(request, GOOD)
        reply.delay = 0.3
        return reply

    async with (
        ScriptedEndpoint(script) as endpoint,
        service(with_model(endpoint.url, tmp_path)) as client,
    ):
        first = asyncio.create_task(ask(client))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(ask(client))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await second).json()["answeredBy"] == "agent"
    assert len(endpoint.seen) == 1


async def test_too_many_questions_are_refused_at_once(tmp_path: Path) -> None:
    async with ScriptedEndpoint([Reply(hang=True)]) as endpoint:
        settings = with_model(endpoint.url, tmp_path, concurrency=1, queue=1, timeout_seconds=0.5)
        async with service(settings) as client:
            bodies = [question(request_id=str(i)).dump() for i in range(4)]
            replies = await asyncio.gather(*(client.post("/v1/proposals", json=b) for b in bodies))
    assert sorted(r.status_code for r in replies) == [200, 200, 503, 503]
    refused = next(r for r in replies if r.status_code == 503)
    assert refused.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "Expecting"),
        (b'{"requestId":"a","requestId":"b"}', 400, "stands twice"),
        (b'{"count": NaN}', 400, "found NaN"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b"{}", 422, "requestId: Field required"),
        (b" " * 1_100_000, 413, "at most 1048576 bytes"),
    ],
)
async def test_bad_bodies_are_refused_with_the_field(body: bytes, status: int, words: str) -> None:
    async with service(AgentSettings()) as client:
        reply = await client.post("/v1/proposals", content=body)
    assert reply.status_code == status
    assert words in reply.json()["detail"]


async def test_a_body_without_a_length_is_bounded_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 65536

    async with service(AgentSettings()) as client:
        reply = await client.post("/v1/proposals", content=endless())
    assert reply.status_code == 413


async def test_what_is_refused_is_not_echoed() -> None:
    body = {**question().dump(), "password": "hunter2", "count": "hunter2"}
    async with service(AgentSettings()) as client:
        reply = await client.post("/v1/proposals", json=body)
    assert reply.status_code == 422
    assert "count: " in reply.text
    assert "hunter2" not in reply.text


async def test_a_token_guards_questions_and_rotates_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with service(AgentSettings(token_file=file)) as client:

        async def status(token: str | None) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return (await ask(client, headers=headers)).status_code

        assert [await status(t) for t in (TOKEN, None, "wrong", TOKEN + "x")] == [
            200,
            401,
            401,
            401,
        ]
        file.write_text(f"{TOKEN}\nnew-token\n")
        assert [await status(t) for t in (TOKEN, "new-token")] == [200, 200]
        file.write_text("new-token\n")
        assert [await status(t) for t in (TOKEN, "new-token")] == [401, 200]
        file.write_text("")
        assert [await status(t) for t in ("", "new-token")] == [503, 503]
        file.unlink()
        assert await status("new-token") == 503
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert (await client.get("/healthz")).status_code == 200


async def test_readyz_shows_who_answers_and_how(tmp_path: Path) -> None:
    async with service(AgentSettings()) as client:
        assert (await client.get("/readyz")).json()["outputMode"] == "none"

    def script(request: Received) -> Reply:
        wants_schema = "response_format" in request.json
        return openai_error(400, "x", "no") if wants_schema else filled(request, GOOD)

    async with (
        ScriptedEndpoint(script) as endpoint,
        service(with_model(endpoint.url, tmp_path, output_mode="auto")) as client,
    ):
        for _ in range(100):
            ready = (await client.get("/readyz")).json()
            if ready["outputMode"] != "unknown":
                break
            await asyncio.sleep(0.02)
        assert ready["outputMode"] == "tool"
        assert ready["provider"] == "openai:m"
        assert (await ask(client)).json()["answeredBy"] == "agent"


async def test_the_callers_patience_is_the_deadline(tmp_path: Path) -> None:
    async with (
        ScriptedEndpoint([Reply(hang=True)]) as endpoint,
        service(with_model(endpoint.url, tmp_path)) as client,
    ):
        reply = await ask(client, headers={"Prefer": "respond-async, wait=1"})
    assert reply.json()["answeredBy"] == "rules"
    assert "no valid answer within 0.9 s" in reply.json()["note"]


async def test_metrics_count_decisions_tokens_dollars_and_reasons(tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("m: {input: 2, output: 10}\n")
    answers = [GOOD, BAD, BAD]

    def script(request: Received) -> Reply:
        return filled(request, answers[len(endpoint.seen) - 1])

    async with (
        ScriptedEndpoint(script) as endpoint,
        service(with_model(endpoint.url, tmp_path, prices_file=prices)) as client,
    ):
        await ask(client)
        await client.post("/v1/proposals", json=question(request_id="2").dump())
        text = (await client.get("/metrics")).text
    for line in (
        'llmzero_agent_decisions_total{answered_by="agent",decision="proposal"} 1.0',
        'llmzero_agent_decisions_total{answered_by="rules",decision="proposal"} 1.0',
        'llmzero_agent_failures_total{reason="invalid"} 1.0',
        'llmzero_agent_tokens_total{direction="input"} 9000.0',
        "llmzero_agent_in_flight 0.0",
    ):
        assert line in text
    spent = re.search(r"(?m)^llmzero_agent_dollars_total (\S+)", text)
    assert spent is not None and float(spent[1]) == pytest.approx(0.024)


@pytest.mark.parametrize(
    "script",
    [
        lambda r: filled(r, GOOD),
        lambda r: filled(r, BAD),
        lambda r: openai_error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"),
        lambda r: as_json({"error": f"boom {KEY} {r.headers}"}, 500),
        lambda r: Reply(drop=True),
    ],
)
async def test_keys_and_tokens_appear_nowhere(
    script: Callable[[Received], Reply],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with ScriptedEndpoint(script) as endpoint:
        settings = with_model(endpoint.url, tmp_path, token_file=file, output_mode="auto")
        async with service(settings) as client:
            seen = [repr(settings), (await ask(client)).text]
            for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"Authorization": TOKEN}):
                seen.append((await ask(client, headers=headers)).text)
            seen += [(await client.get(p)).text for p in ("/readyz", "/metrics", "/openapi.json")]
    assert endpoint.seen and endpoint.seen[0].headers["authorization"] == f"Bearer {KEY}"
    everything = "\n".join([*seen, caplog.text, *capfd.readouterr()])
    assert "llmzero_agent" in everything
    assert KEY not in everything
    assert TOKEN not in everything


async def test_what_callers_send_cannot_format_a_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="llmzero")
    odd = question(request_id="%s%n{0}\n2026-01-01 CRITICAL forged \x1b[31m")
    async with service(AgentSettings()) as client:
        await client.post("/v1/proposals", json=odd.dump())
    assert "proposal %s%n{0} 2026-01-01 CRITICAL forged [31m: rules" in caplog.text
    assert not any("\n" in r.getMessage() or "\x1b" in r.getMessage() for r in caplog.records)


def test_the_published_openapi_document_is_that_of_the_code() -> None:
    """After a deliberate change: python -m llmzero.agent.openapi docs/openapi.json"""
    assert Path("docs/openapi.json").read_text() == document()


def test_the_openapi_document_describes_both_questions() -> None:
    api = json.loads(document())
    assert set(api["paths"]) == {"/v1/proposals", "/v1/verdicts", "/healthz", "/readyz", "/metrics"}
    for path, name in (("/v1/proposals", "ProposalRequest"), ("/v1/verdicts", "VerdictRequest")):
        body = api["paths"][path]["post"]["requestBody"]
        reference = body["content"]["application/json"]["schema"]["$ref"]
        assert reference == f"#/components/schemas/{name}"
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', document()))
    assert references <= set(api["components"]["schemas"])
