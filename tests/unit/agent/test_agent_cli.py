"""``llmzero agent``: options are checked with their names; render and report print what is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from llmzero.agent.prompts import proposal_prompt, verdict_prompt
from llmzero.api.base import ObjectList
from llmzero.cli import agent
from llmzero.cli.agent import app
from llmzero.cli.agent_report import agent_report
from llmzero.cli.output import console
from tests.unit.agent.questions import question, verdict_question
from tests.unit.agent.test_agent_calibration import tree
from tests.unit.builders import search

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls the command; exit code, and what it printed on both streams, 120 columns wide."""
    monkeypatch.setattr(console, "width", 120)

    return calls(app, capsys)


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(console, "width", 120)
    alone = typer.Typer()
    alone.command()(agent_report)
    return calls(alone, capsys)


def calls(command: typer.Typer, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            command(list(words))
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return call


def test_render_shows_exactly_what_would_be_sent(tmp_path: Path, run: Run) -> None:
    file, png = tmp_path / "request.json", tmp_path / "plot.png"
    file.write_text(json.dumps(question().dump()))
    code, text = run("render", str(file), "--picture", str(png))
    prompt = proposal_prompt(question(), 12_000, picture=True)
    assert code == 0
    assert prompt.system in text and prompt.user in text and prompt.version in text
    assert png.read_bytes().startswith(b"\x89PNG")


def test_render_knows_a_verdict_by_its_form(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps(verdict_question().dump()))
    code, text = run("render", str(file), "--no-vision")
    assert code == 0
    assert verdict_prompt(verdict_question(), 12_000, picture=False).user in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "Expecting"),
        ("{}", "requestId: Field required"),
        ('{"a": 1, "a": 2}', "stands twice"),
    ],
)
def test_render_says_what_is_wrong_with_a_request(
    tmp_path: Path, run: Run, content: str | None, words: str
) -> None:
    file = tmp_path / "request.json"
    if content is not None:
        file.write_text(content)
    code, text = run("render", str(file))
    assert code == 2
    assert words in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--provider", "gpt"), "--provider: Input should be 'rules', 'openai' or 'anthropic'"),
        (("--provider", "openai"), "--model: needed for --provider openai"),
        (("--output-mode", "xml"), "--output-mode: Input should be 'auto'"),
        (("--max-input-tokens", "10"), "--max-input-tokens: Input should be greater"),
        (("--prices-file", "/none/prices.yaml"), "--prices-file: /none/prices.yaml"),
    ],
)
def test_bad_options_are_named(run: Run, words: tuple[str, ...], said: str) -> None:
    code, text = run(*words)
    assert code == 2
    assert said in " ".join(text.split())


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The applications that would have listened."""
    found: list[Any] = []
    monkeypatch.setattr(agent.uvicorn, "run", lambda service, **_: found.append(service))
    return found


@pytest.mark.parametrize("port", ["99999", "-1", "65536"])
def test_a_port_that_there_is_not_is_refused(run: Run, listening: list[Any], port: str) -> None:
    assert run("--port", port) == (2, f"error: --port: found {port}, 0 to 65535 are allowed\n")
    assert listening == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tls-cert", "nope"), "--tls-cert: nope: cannot be read: No such file or directory"),
        (("--tls-cert", "{file}", "--tls-key", "nope"), "--tls-key: nope: cannot be read: No such"),
        (("--tls-cert", "{file}"), "--tls-cert: found {file} without --tls-key, a PEM certificate"),
        (("--tls-cert", "{file}", "--tls-key", "{file}"), "--tls-cert: found {file} and {file}, a"),
        (("--tls-key", "{file}"), "--tls-key: found no --tls-cert, which is needed with it"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_one_line(
    tmp_path: Path, run: Run, listening: list[Any], words: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "no.pem"
    file.write_text("this is no certificate")
    code, text = run(*(w.format(file=file) for w in words))
    assert code == 2
    assert text.startswith(f"error: {said.format(file=file)}")
    assert text.count("\n") == 1
    assert listening == []


MODEL = ("--provider", "openai", "--model", "m", "--base-url", "http://127.0.0.1:1/v1")


@pytest.mark.parametrize(
    ("words", "content", "said"),
    [
        (("--token-file",), None, "No such file or directory; until it holds one every question"),
        (("--token-file",), " \n", "holds no token; until it holds one every question is refused"),
        ((*MODEL, "--key-file"), None, "No such file or directory; until it holds one the rules"),
        ((*MODEL, "--key-file"), "", "holds no usable key; until it holds one the rules answer"),
        ((*MODEL, "--key-file"), "ke\u00e9y", "holds no usable key; until it holds one the rules"),
        (("--key-file",), None, "is not used with --provider rules"),
    ],
)
def test_a_secret_that_is_not_there_is_warned_of_and_the_service_starts(
    tmp_path: Path,
    run: Run,
    listening: list[Any],
    words: tuple[str, ...],
    content: str | None,
    said: str,
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_text(content)
    code, text = run(*words, str(file))
    assert code == 0
    assert text.startswith(f"warning: {words[-1]}: {file}: {said}")
    assert text.count("\n") == 1
    assert "ke\u00e9y" not in text
    assert len(listening) == 1


def test_a_secret_that_is_there_is_not_spoken_of(
    tmp_path: Path, run: Run, listening: list[Any]
) -> None:
    file = tmp_path / "secret"
    file.write_text("a-secret\n")
    assert run(*MODEL, "--key-file", str(file), "--token-file", str(file)) == (0, "")
    assert len(listening) == 1


def test_report_reads_what_kubectl_prints(tmp_path: Path, report: Run) -> None:
    file = tmp_path / "objects.json"
    items = [search().dump(), *(n.dump() for n in tree())]
    file.write_text(json.dumps(ObjectList(items=items).dump()))
    code, text = report(str(file), "-o", "json")
    assert code == 0
    data = json.loads(text)
    assert {r["agent"] for r in data["calibration"]} == {"openai:m", "rules"}
    assert [s["decisions"] for s in data["spending"]] == [1, 1]
    code, text = report(str(file))
    assert code == 0 and "openai:m" in text and "eval/accuracy" in text


def test_report_says_what_it_needs(tmp_path: Path, report: Run) -> None:
    file = tmp_path / "objects.json"
    file.write_text("[]")
    code, text = report(str(file))
    assert code == 2
    assert "a run directory or a v1 List of a TrainingSearch and its StageNodes" in text
