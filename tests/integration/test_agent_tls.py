"""The service over TLS with bearer tokens, as an administrator would configure both sides."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from llmzero.api.spec import Agent
from llmzero.client import EndpointProposer, load_endpoints
from tests.integration.test_agent_search import ROOT, free_port
from tests.unit.agent.questions import question


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.slow
async def test_a_search_speaks_to_the_service_with_a_custom_ca_and_a_token(tmp_path: Path) -> None:
    (cert, key), port = certificate(tmp_path), free_port()
    (tmp_path / "tokens").write_text("old-token\nnew-token\n")
    (tmp_path / "token").write_text("new-token\n")
    (tmp_path / "wrong").write_text("stolen\n")
    url = f"https://localhost:{port}"
    (tmp_path / "endpoints.yaml").write_text(
        "endpoints:\n"
        f'  default: {{url: "{url}", tokenFile: {tmp_path}/token, caFile: {cert}}}\n'
        f'  nobody: {{url: "{url}", caFile: {cert}}}\n'
        f'  thief: {{url: "{url}", tokenFile: {tmp_path}/wrong, caFile: {cert}}}\n'
        f'  strange: {{url: "{url}", tokenFile: {tmp_path}/token, retries: 0}}\n'
        f'  plain: {{url: "http://localhost:{port}", tokenFile: {tmp_path}/token, retries: 0}}\n'
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "llmzero.cli.main", "agent", "--port", str(port), "--tls-cert",
        str(cert), "--tls-key", str(key), "--token-file", str(tmp_path / "tokens"), cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(verify=False) as client:
            for _ in range(600):
                assert process.returncode is None
                try:
                    assert (await client.get(f"{url}/healthz")).json() == {"status": "ok"}
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        proposer = EndpointProposer(load_endpoints(tmp_path / "endpoints.yaml"))
        notes = {}
        for name in ("default", "nobody", "thief", "strange", "plain"):
            agent = Agent(endpoint=name, timeout_seconds=30)
            notes[name] = (await proposer.propose(question(), agent)).note
        await proposer.aclose()
    finally:
        process.terminate()
        await process.wait()
    # The rules answer in the service, too: a note says where they had to stand in for it.
    assert notes["default"] == ""
    for name in ("nobody", "thief"):
        assert notes[name] == f"endpoint {name}: the token is refused (HTTP 401)"
    assert notes["strange"].startswith("endpoint strange: cannot connect")
    assert notes["plain"].startswith("endpoint plain: ")
    assert "token" not in notes["plain"] and "new-token" not in str(notes)
