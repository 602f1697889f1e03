"""Whether an agent service is there, asked before a search starts."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from llmzero.client.endpoints import Endpoint
from llmzero.client.ready import trouble
from tests.unit.agent.scripted import Received, Reply, ScriptedEndpoint, as_json


async def asked(reply: Reply, seconds: float = 3.0, **options: Any) -> tuple[str, list[Received]]:
    async with ScriptedEndpoint([reply]) as service:
        endpoint = Endpoint(url=f"{service.url}/prefix", **options)
        said = await asyncio.to_thread(trouble, endpoint, seconds)
    return said, service.seen


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (as_json({"ready": True}), ""),
        (as_json({"ready": True, "message": ""}), ""),
        (as_json({"ready": True, "message": "no answer yet"}), "/readyz: no answer yet"),
        (
            as_json({"ready": False, "message": "the\ntoken \x1b[31m"}, 503),
            "/readyz: HTTP 503 (the token [31m)",
        ),
        (as_json(b"not found", 404), "/readyz: HTTP 404"),
        (as_json({"message": "x" * 100_000}, 503), "/readyz: HTTP 503"),
        (Reply(drop=True), "/readyz: the connection failed (RemoteProtocolError)"),
    ],
)
async def test_what_readyz_says(reply: Reply, said: str) -> None:
    found, (request,) = await asked(reply)
    assert found == said
    assert (request.method, request.path) == ("GET", "/prefix/readyz")


async def test_the_token_is_not_sent(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token")
    _, (request,) = await asked(as_json({"ready": True}), token_file=token)
    assert "authorization" not in request.headers


@pytest.mark.parametrize("reply", [Reply(hang=True), Reply(body=b"x" * 1000, trickle=0.2)])
async def test_a_service_that_hangs_or_trickles_costs_no_more_than_its_seconds(
    reply: Reply,
) -> None:
    began = time.monotonic()
    said, _ = await asked(reply, seconds=0.5)
    assert said == "/readyz: no answer within 0.5 s"
    assert time.monotonic() - began < 3


def test_a_port_where_nothing_listens_and_certificates_that_are_not_there(tmp_path: Path) -> None:
    assert trouble(Endpoint(url="http://127.0.0.1:1")) == "cannot connect (ConnectError)"
    gone = Endpoint(url="https://127.0.0.1:1", ca_file=tmp_path / "none.pem")
    assert "No such file" in trouble(gone)


def test_a_message_shows_no_path_of_the_url() -> None:
    assert Endpoint(url="http://agent.example:8443/secret/").origin == "http://agent.example:8443"
