"""Shapes of the OpenAI and Anthropic protocols, as their servers send them."""

import json
from typing import Any

from tests.unit.agent.scripted import Received, Reply, as_json

GOOD: dict[str, Any] = {
    "diagnosis": [
        {
            "kind": "Plateau",
            "severity": 0.4,
            "confidence": 0.7,
            "metric": "reward",
            "first_step": 70,
            "last_step": 100,
            "evidence": "0.519, then 0.530",
        }
    ],
    "branch_step": 100,
    "branch_reason": "the last evaluation is the best",
    "proposals": [
        {
            "changes": [
                {"parameter": "learning_rate", "value": 2e-6},
                {"parameter": "beta", "value": 0.04},
            ],
            "reset_optimizer": True,
            "reset_reference": True,
            "rationale": "larger steps, held by the KL term",
            "expected": [{"metric": "eval/accuracy", "change": 0.02}],
            "confidence": 0.6,
            "justification": "",
        }
    ],
}
BAD: dict[str, Any] = json.loads(json.dumps(GOOD))
BAD["proposals"][0]["changes"][0]["value"] = 0.4
PROBE = {"word": "ready", "number": 7}


def openai(content: str | None, finish: str = "stop", **message: Any) -> Reply:
    return as_json(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1750000000,
            "model": "m-2025",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", "content": content, **message},
                }
            ],
            "usage": {"prompt_tokens": 3000, "completion_tokens": 200, "total_tokens": 3200},
        }
    )


def openai_tool(arguments: Any, name: str = "answer") -> Reply:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": text}}
    return openai(None, "tool_calls", tool_calls=[call])


def openai_error(status: int, code: str, message: str, **headers: str) -> Reply:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return as_json({"error": error}, status, **headers)


def anthropic(*content: dict[str, Any], stop: str = "end_turn") -> Reply:
    return as_json(
        {
            "id": "msg_01",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-5",
            "content": list(content),
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 3000,
                "output_tokens": 200,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
            },
        }
    )


def anthropic_error(status: int, kind: str, message: str, **headers: str) -> Reply:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
    return as_json(body, status, **headers)


def is_probe(request: Received) -> bool:
    return b"You are being tested." in request.body


def wants(request: Received) -> str:
    """How an OpenAI-compatible request asks for typed output."""
    body = request.json
    kind = body.get("response_format", {}).get("type")
    if "tools" in body:
        return "tool"
    if "schema" in body.get("response_format", {}):
        return "guided-json"
    return {"json_schema": "json-schema", "json_object": "json-object"}.get(kind, "text")


def filled(request: Received, answer: Any) -> Reply:
    """``answer`` in the way that the request asks for it (a probe gets its own form filled)."""
    value = PROBE if is_probe(request) else answer
    if request.path.endswith("/messages"):
        tools = request.json.get("tools")
        if tools:
            return anthropic(
                {"type": "tool_use", "id": "toolu_1", "name": tools[0]["name"], "input": value},
                stop="tool_use",
            )
        return anthropic({"type": "text", "text": json.dumps(value)})
    return openai_tool(value) if wants(request) == "tool" else openai(json.dumps(value))
