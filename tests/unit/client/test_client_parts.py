"""Endpoints file, circuit breaker, strict JSON."""

from pathlib import Path

import pytest

from llmzero.client import EndpointsError, load_endpoints
from llmzero.client.breaker import Breaker
from llmzero.client.strict_json import loads


def test_endpoints_by_name(tmp_path: Path) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(
        "endpoints:\n"
        "  default: {url: 'https://agent.example:8443/', tokenFile: /run/token, caFile: /run/ca}\n"
        "  cheap: {url: 'http://127.0.0.1:8000/prefix', concurrency: 1}\n"
    )
    endpoints = load_endpoints(file)
    assert endpoints["default"].url == "https://agent.example:8443"
    assert endpoints["default"].token_file == Path("/run/token")
    assert endpoints["cheap"].concurrency == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "the key 'endpoints'"),
        ("endpoints: [", "not a YAML file"),
        ("endpoints: {Big One: {url: 'http://a'}}", "found the name 'Big One'"),
        ("endpoints: {a: {}}", "endpoints.a.url: Field required"),
        ("endpoints: {a: {url: 'ftp://x'}}", "http://host or https://host is needed"),
        ("endpoints: {a: {url: 'http://me:pw@x'}}", "no credentials in the URL"),
        ("endpoints: {a: {url: 'http://x?key=1'}}", "no query"),
        ("endpoints: {a: {url: 'http://x:99999'}}", "the port must be a number from 0 to 65535"),
        ("endpoints: {a: {url: 'http://x:y'}}", "the port must be a number from 0 to 65535"),
        ("endpoints: {a: {url: 'http://x', token: abc}}", "endpoints.a.token: Extra inputs"),
    ],
)
def test_a_bad_endpoints_file_names_the_field(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "endpoints.yaml"
    file.write_text(text)
    with pytest.raises(EndpointsError) as caught:
        load_endpoints(file)
    assert why in str(caught.value)
    assert "pw" not in str(caught.value)


def test_a_missing_endpoints_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EndpointsError, match="cannot be read: No such file"):
        load_endpoints(tmp_path / "none.yaml")


def test_the_breaker_opens_rests_tries_once_and_doubles_the_rest() -> None:
    now = [0.0]
    breaker = Breaker(threshold=2, rest=10, longest_rest=25, clock=lambda: now[0])
    breaker.failure()
    assert breaker.allow()
    breaker.failure()
    assert not breaker.allow()
    assert breaker.wait == 10
    now[0] = 10
    assert breaker.allow(5)
    assert not breaker.allow(5)  # one trial at a time
    breaker.failure()
    assert breaker.wait == 20
    now[0] = 30
    assert breaker.allow(5)
    now[0] = 36  # the trial never reported back
    assert breaker.allow(5)
    breaker.failure()
    assert breaker.wait == 25
    now[0] = 61
    assert breaker.allow(5)
    breaker.success()
    assert breaker.wait == 0
    breaker.failure()
    assert breaker.allow()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b"[NaN]", "found NaN"),
        (b"[-Infinity]", "found -Infinity"),
        (b"[1e400]", "found 1e400"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "not UTF-8"),
        (b"[1", "Expecting"),
        (b"9" * 5000, "5000 digits, at most 20"),
        (b" " * 2_000_000, "at most 1048576"),
    ],
)
def test_strict_json_says_why(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        loads(data)


def test_strict_json_reads_json() -> None:
    assert loads('{"a": [1, 2.5, "ü", null, true]}'.encode()) == {"a": [1, 2.5, "ü", None, True]}
