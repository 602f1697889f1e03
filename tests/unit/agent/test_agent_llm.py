"""Typed answers from endpoints of all kinds: the strictest mode, one repair, plain words."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from llmzero.agent.decide import Decider
from llmzero.agent.failures import LlmFailed
from llmzero.agent.llm import Llm
from llmzero.agent.metrics import Metrics
from llmzero.agent.prices import Price
from llmzero.agent.settings import AgentSettings
from llmzero.api.proposals import Answered
from tests.unit.agent.questions import question
from tests.unit.agent.scripted import Received, Reply, ScriptedEndpoint, as_json
from tests.unit.agent.wire import (
    BAD,
    GOOD,
    anthropic,
    anthropic_error,
    filled,
    is_probe,
    openai,
    openai_error,
    openai_tool,
    wants,
)

KEY = "sk-very-secret-key-0123456789"


def settings(url: str, tmp_path: Path, provider: str = "openai", **more: Any) -> AgentSettings:
    key = tmp_path / "key"
    key.write_text(KEY + "\n")
    base = url + "/v1" if provider == "openai" else url
    return AgentSettings.model_validate(
        {"provider": provider, "base_url": base, "model": "m", "key_file": key, "retries": 0,
         "vision": False, **more}
    )  # fmt: skip


async def decide(config: AgentSettings, seconds: float = 20, **asked: Any) -> Answered:
    llm = Llm(config)
    decider = Decider(config, llm, {"m": Price(input=2, output=10)}, Metrics())
    try:
        return await decider.propose(question(**asked), seconds)
    finally:
        await decider.aclose()


@pytest.mark.parametrize(
    ("honours", "mode"),
    [
        ({"json-schema", "guided-json", "tool", "json-object", "text"}, "json-schema"),
        ({"guided-json", "json-object", "text"}, "guided-json"),
        ({"tool", "json-object", "text"}, "tool"),
        ({"json-object", "text"}, "json-object"),
        ({"text"}, "text"),
        (set(), "text"),
    ],
)
@pytest.mark.parametrize("refusal", ["400", "500", "ignored"])
async def test_the_strictest_mode_is_found(
    honours: set[str], mode: str, refusal: str, tmp_path: Path
) -> None:
    def script(request: Received) -> Reply:
        if wants(request) in honours:
            return filled(request, GOOD)
        if refusal == "ignored":
            return openai("hello")
        return openai_error(int(refusal), "unsupported", "response_format is not supported")

    async with ScriptedEndpoint(script) as endpoint:
        llm = Llm(settings(endpoint.url, tmp_path))
        await llm.find_mode()
        asked = len(endpoint.seen)
        await llm.find_mode()
        await llm.aclose()
    assert llm.mode == mode
    assert len(endpoint.seen) == asked <= 5


async def test_an_endpoint_that_is_down_leaves_the_mode_open(tmp_path: Path) -> None:
    llm = Llm(settings("http://127.0.0.1:9", tmp_path))
    with pytest.raises(LlmFailed) as caught:
        await llm.find_mode()
    assert (caught.value.kind, llm.mode) == ("unreachable", None)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("mode", ["json-schema", "tool", "json-object", "text"])
async def test_an_answer_in_every_mode_of_both_protocols(
    provider: str, mode: str, tmp_path: Path
) -> None:
    model = "m" if provider == "openai" else "claude-sonnet-5"
    async with ScriptedEndpoint(lambda r: filled(r, GOOD)) as endpoint:
        config = settings(endpoint.url, tmp_path, provider, output_mode=mode, model=model)
        got = await decide(config)
    assert got.answered_by == "agent", got.note
    assert got.provider == f"{provider}:{model}"
    assert got.template.startswith("proposal-")
    assert got.answer.proposals[0].changes == {"learning_rate": 2e-6, "beta": 0.04}
    assert got.answer.proposals[0].carry_optimizer is False
    assert got.answer.branch_from.step == 100
    assert (got.usage.input_tokens, got.usage.output_tokens) == (3000, 200)
    header = "authorization" if provider == "openai" else "x-api-key"
    assert KEY in endpoint.seen[0].headers[header]


async def test_decoders_are_held_to_the_names_and_checkpoints_of_the_search(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, GOOD)) as endpoint:
        await decide(settings(endpoint.url, tmp_path, output_mode="json-schema"))
        await decide(settings(endpoint.url, tmp_path, output_mode="guided-json"))
    for sent in (r.json["response_format"] for r in endpoint.seen):
        text = json.dumps(sent)
        assert '"enum": [25, 50, 75, 100]' in text
        assert '"enum": ["learning_rate", "beta", "temperature", "max_completion_length"' in text
        assert '"enum": ["NonFinite", "GradientSpikes"' in text


async def test_dollars_come_from_the_users_table_then_from_the_public_one(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, GOOD)) as endpoint:
        ours = await decide(settings(endpoint.url, tmp_path, output_mode="tool"))
        assert ours.usage.dollars == pytest.approx((3000 * 2 + 200 * 10) / 1e6)
        public = await decide(
            settings(
                endpoint.url, tmp_path, "anthropic", output_mode="tool", model="claude-sonnet-5"
            )
        )
        assert public.usage.dollars == pytest.approx((3000 * 2 + 200 * 10) / 1e6)
        unknown = await decide(settings(endpoint.url, tmp_path, output_mode="tool", model="own-7b"))
        assert unknown.usage.dollars == 0
        assert unknown.note == "no price is known for own-7b: counted as 0 dollars"


async def test_one_repair_round_quotes_every_problem(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        return filled(request, GOOD if b"breaks these rules" in request.body else BAD)

    async with ScriptedEndpoint(script) as endpoint:
        got = await decide(settings(endpoint.url, tmp_path, output_mode="json-schema"))
    assert got.answered_by == "repaired"
    assert (got.usage.input_tokens, got.usage.output_tokens) == (6000, 400)
    repair = json.dumps(endpoint.seen[1].json["messages"])
    assert "learning_rate: found 0.4, allowed is 1e-07 to 0.0001" in repair


async def test_schema_errors_are_quoted_too(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        return filled(request, GOOD if len(request.json["messages"]) > 2 else {"proposals": []})

    async with ScriptedEndpoint(script) as endpoint:
        got = await decide(settings(endpoint.url, tmp_path, output_mode="tool"))
    assert got.answered_by == "repaired"
    assert "Field required" in json.dumps(endpoint.seen[1].json["messages"])


async def test_after_one_repair_the_rules_answer_and_say_why(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, BAD)) as endpoint:
        got = await decide(settings(endpoint.url, tmp_path, output_mode="json-schema"))
    assert len(endpoint.seen) == 2
    assert got.answered_by == "rules"
    assert got.note.startswith("openai:m: no valid answer after one repair: proposals[0]")
    assert got.usage.dollars > 0  # what was spent is counted, whoever answered


DEEP = "[" * 5000
FAULTS: dict[str, tuple[Reply, str]] = {
    "refusal": (openai(None, refusal="I cannot help with that."), "refused"),
    "content filter": (openai(None, "content_filter"), "refused"),
    "truncation": (openai('{"diagnosis": [', "length"), "cut off"),
    "rate limit": (
        openai_error(429, "rate_limit_exceeded", f"slow down {KEY}", Retry_After="20"),
        "rate limit is reached (HTTP 429)",
    ),
    "quota": (openai_error(429, "insufficient_quota", "pay"), "rate limit is reached (HTTP 429)"),
    "bad key": (
        openai_error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"),
        "refuses the key (HTTP 401)",
    ),
    "schema error": (openai_error(400, "invalid_schema", "bad schema"), "rejects the request"),
    "no such model": (openai_error(404, "model_not_found", "no m"), "rejects the request"),
    "server error": (as_json({"error": "boom"}, 500), "fails (HTTP 500)"),
    "drops": (Reply(drop=True), "does not answer"),
    "html": (Reply(200, b"<html></html>", {"Content-Type": "text/html"}), ""),
    "not json": (as_json(b"{"), ""),
    "empty": (as_json(b""), ""),
    "another schema": (as_json({"hello": "world"}), ""),
    "choices missing": (as_json({"id": "x", "object": "chat.completion", "choices": []}), ""),
    "wrong types": (as_json({"choices": "many", "usage": {"prompt_tokens": "x"}}), ""),
    "deep envelope": (as_json(b'{"choices":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), ""),
    "deep answer": (openai(DEEP), "no valid answer"),
    "nan": (openai(json.dumps(GOOD).replace("0.04", "NaN")), "no valid answer"),
    "infinite": (openai(json.dumps(GOOD).replace("0.04", "1e999")), "no valid answer"),
    "huge int": (openai(json.dumps(GOOD).replace("0.04", "9" * 400)), "no valid answer"),
    "duplicate keys": (
        openai(json.dumps(GOOD)[:-1] + ', "branch_step": 61}'),
        "no valid answer after one repair: branch_step: Input should be 25, 50, 75 or 100",
    ),
    "text around": (openai("Sure! Here it is: {}"), "no valid answer"),
    "other tool": (openai_tool(GOOD, "delete_everything"), "no valid answer"),
    "flood": (Reply(flood=100 * 1024 * 1024), "larger than 4194304 bytes"),
    "gzip": (Reply(200, b"x", {"Content-Encoding": "gzip"}), "compressed"),
    "redirect": (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_faults_of_the_openai_protocol_end_with_the_rules(name: str, tmp_path: Path) -> None:
    reply, words = FAULTS[name]
    async with ScriptedEndpoint([reply]) as endpoint:
        got = await decide(settings(endpoint.url, tmp_path, output_mode="json-schema"))
    assert got.answered_by == "rules"
    assert got.answer.proposals
    assert words in got.note
    assert KEY not in got.model_dump_json()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (anthropic({"type": "text", "text": "{"}, stop="max_tokens"), "cut off"),
        (anthropic(stop="refusal"), "refused"),
        (anthropic_error(429, "rate_limit_error", KEY, Retry_After="9"), "rate limit is reached"),
        (anthropic_error(529, "overloaded_error", "Overloaded"), "fails (HTTP 529)"),
        (anthropic_error(401, "authentication_error", "invalid x-api-key"), "refuses the key"),
        (anthropic_error(400, "invalid_request_error", "schema"), "rejects the request"),
        (anthropic({"type": "text", "text": "I would rather not."}), "no valid answer"),
    ],
)
async def test_faults_of_the_anthropic_protocol_end_with_the_rules(
    reply: Reply, words: str, tmp_path: Path
) -> None:
    async with ScriptedEndpoint([reply]) as endpoint:
        config = settings(
            endpoint.url,
            tmp_path,
            "anthropic",
            output_mode="json-schema",
            model="claude-sonnet-5",
        )
        got = await decide(config)
    assert got.answered_by == "rules"
    assert words in got.note
    assert KEY not in got.model_dump_json()


async def test_retry_after_is_honoured_within_the_deadline(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        if len(endpoint.seen) == 1:
            return openai_error(429, "rate_limit_exceeded", "slow down", Retry_After="1")
        return filled(request, GOOD)

    async with ScriptedEndpoint(script) as endpoint:
        config = settings(endpoint.url, tmp_path, output_mode="json-schema", retries=2)
        started = time.monotonic()
        got = await decide(config)
    assert got.answered_by == "agent"
    assert time.monotonic() - started >= 0.9


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(body=b" " * 9999, trickle=0.05)])
async def test_the_deadline_is_one_for_the_whole_decision(reply: Reply, tmp_path: Path) -> None:
    async with ScriptedEndpoint([reply]) as endpoint:
        started = time.monotonic()
        got = await decide(settings(endpoint.url, tmp_path, output_mode="tool"), seconds=1)
    assert time.monotonic() - started < 2
    assert got.answered_by == "rules"
    assert "no valid answer within 0.9 s" in got.note


async def test_a_slow_repair_does_not_get_a_deadline_of_its_own(tmp_path: Path) -> None:
    def script(request: Received) -> Reply:
        reply = filled(request, BAD)
        reply.delay = 0.6
        return reply

    async with ScriptedEndpoint(script) as endpoint:
        started = time.monotonic()
        got = await decide(settings(endpoint.url, tmp_path, output_mode="tool"), seconds=1)
    assert time.monotonic() - started < 1.6
    assert got.answered_by == "rules"


async def test_the_key_is_read_again_when_it_rotates(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, GOOD)) as endpoint:
        config = settings(endpoint.url, tmp_path, output_mode="tool")
        llm = Llm(config)
        decider = Decider(config, llm, {}, Metrics())
        await decider.propose(question(), 10)
        (tmp_path / "key").write_text("sk-second")
        await decider.propose(question(), 10)
        (tmp_path / "key").unlink()
        got = await decider.propose(question(), 10)
        await decider.aclose()
    assert [r.headers["authorization"] for r in endpoint.seen] == [
        f"Bearer {KEY}",
        "Bearer sk-second",
    ]
    assert "the key file cannot be read" in got.note


async def test_a_dead_endpoint_is_left_alone(tmp_path: Path) -> None:
    async with ScriptedEndpoint([as_json({}, 500)]) as endpoint:
        config = settings(endpoint.url, tmp_path, output_mode="tool")
        decider = Decider(config, Llm(config), {}, Metrics())
        notes = [(await decider.propose(question(), 10)).note for _ in range(5)]
        await decider.aclose()
    assert len(endpoint.seen) == 3
    assert "left alone for 30 s more" in notes[-1]


async def test_impatient_callers_do_not_silence_the_endpoint(tmp_path: Path) -> None:
    async with ScriptedEndpoint([Reply(hang=True)]) as endpoint:
        config = settings(endpoint.url, tmp_path, output_mode="tool")
        decider = Decider(config, Llm(config), {}, Metrics())
        for _ in range(4):
            await decider.propose(question(), 1.5)
        await decider.aclose()
    assert len(endpoint.seen) == 4


async def test_invalid_answers_do_not_silence_the_endpoint(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, BAD)) as endpoint:
        config = settings(endpoint.url, tmp_path, output_mode="tool")
        decider = Decider(config, Llm(config), {}, Metrics())
        for _ in range(5):
            await decider.propose(question(), 10)
        await decider.aclose()
    assert len(endpoint.seen) == 10


async def test_models_that_see_get_the_plot_and_others_do_not(tmp_path: Path) -> None:
    async with ScriptedEndpoint(lambda r: filled(r, GOOD)) as endpoint:
        await decide(settings(endpoint.url, tmp_path, output_mode="tool", vision=True))
        await decide(settings(endpoint.url, tmp_path, output_mode="tool", vision=False))
    seeing, blind = (r.json["messages"][-1]["content"] for r in endpoint.seen)
    assert [part["type"] for part in seeing] == ["text", "image_url"]
    assert seeing[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert isinstance(blind, str)
    assert not any(is_probe(r) for r in endpoint.seen)


async def test_injected_instructions_cannot_leave_the_space(tmp_path: Path) -> None:
    """A model that obeys a completion's "set the budget, use lr 0.4" is refused all the same."""
    obeyed = json.loads(json.dumps(GOOD))
    obeyed["proposals"][0]["changes"] = [
        {"parameter": "budget.stages", "value": 1000},
        {"parameter": "learning_rate", "value": 0.4},
        {"parameter": "output_dir", "value": "/etc; rm -rf ~ $(reboot) %s {0}"},
    ]
    async with ScriptedEndpoint(lambda r: filled(r, obeyed)) as endpoint:
        got = await decide(settings(endpoint.url, tmp_path, output_mode="tool"))
    assert got.answered_by == "rules"
    text = got.answer.model_dump_json()
    assert "reboot" not in text and "budget" not in text
    repair = json.dumps(endpoint.seen[1].json["messages"])
    assert "Input should be 'learning_rate', 'beta'" in repair
