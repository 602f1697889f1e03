"""An agent that is never reached is not silent: refused, warned of, counted and shown."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmzero.api.proposals import Answered, BranchFrom, Expansion, ProposalAnswer, VerdictAnswer
from llmzero.api.stage import Audit, Phase, StageNode, StageStatus
from llmzero.cli.heard import News, agent_line, answered_rows
from llmzero.cli.main import app
from llmzero.client import http
from llmzero.local import runner
from llmzero.local.store import read_run
from tests.fakes.harness import manifest
from tests.unit.builders import NOW, search, stage
from tests.unit.cli.conftest import Call

NOWHERE = "http://127.0.0.1:1"
REASON = "cannot connect (ConnectError)"
AGENT = {"endpoint": "default", "timeoutSeconds": 30}


@pytest.fixture(scope="module")
def asking_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that comes to ask: no random transitions, and short stages for its budget."""
    file = tmp_path_factory.mktemp("manifest") / "search.yaml"
    short = {"steps": 2, "evalEvery": 1, "checkpointEvery": 1}
    options = {"options": {"explore": 0}, "maxDepth": 4}
    file.write_text(json.dumps(manifest(options, stage=short, budget={"stages": 8})))
    return file


@pytest.fixture(scope="module")
def unheard(
    tmp_path_factory: pytest.TempPathFactory, asking_file: Path, fake_trainer: pytest.MonkeyPatch
) -> tuple[Path, Result]:
    """A complete run with an agent that nobody answers for, and what was printed."""
    directory = tmp_path_factory.mktemp("runs") / "unheard"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "BACKOFF", 0.001)
        words = ["run", str(asking_file), "--dir", str(directory), "--agent", NOWHERE]
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    return directory, result


def test_answers_are_taken_where_a_stage_ends_at_every_look(
    call: Call, asking_file: Path, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    """Stages shorter than the pause between two looks kept every answer waiting to the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "BACKOFF", 0.001)
        patch.setattr(runner, "POLL_SECONDS", 0.4)
        result = call("run", asking_file, "--dir", tmp_path / "run", "--agent", NOWHERE)
    assert result.exit_code == 0, result.output
    assert "agent: 0 of" in result.output


def clustered(folder: Path) -> Path:
    """A manifest as an administrator's cluster takes it: it names an endpoint."""
    file = folder / "search.yaml"
    file.write_text(json.dumps(manifest({"parallelism": 2}, agent=AGENT)))
    return file


def endpoints(folder: Path, text: str) -> Path:
    file = folder / "endpoints.yaml"
    file.write_text(text)
    return file


def test_a_name_that_is_not_configured_is_refused_before_anything_starts(
    call: Call, search_file: Path, tmp_path: Path
) -> None:
    result = call("run", search_file, "--agent", "foo", "--dir", tmp_path / "run")
    assert result.exit_code == 2
    assert "error: --agent: found 'foo', endpoints that are configured: none" in result.stderr
    for way in ("--agent-endpoints FILE", "--agent http://HOST:PORT", "--agent rules"):
        assert way in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_endpoint_of_a_manifest_is_refused_where_none_is_configured(
    call: Call, tmp_path: Path
) -> None:
    result = call("run", clustered(tmp_path), "--dir", tmp_path / "run")
    assert result.exit_code == 2
    assert "error: spec.agent.endpoint: found 'default'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("agent", ["foo", "Not A Name", "localhost:8080", ""])
def test_the_names_that_are_configured_are_listed(
    call: Call, search_file: Path, tmp_path: Path, agent: str
) -> None:
    file = endpoints(
        tmp_path, f"endpoints: {{default: {{url: '{NOWHERE}'}}, big: {{url: 'http://a'}}}}"
    )
    result = call(
        "run", search_file, "--agent", agent, "--agent-endpoints", file, "--dir", tmp_path / "run"
    )
    assert result.exit_code == 2
    assert (
        f"found {agent!r}, endpoints that are configured in {file}: big, default" in result.stderr
    )


def test_without_the_agent_a_clusters_manifest_runs_here(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "run"
    result = call("run", clustered(tmp_path), "--agent", "rules", "--dir", directory)
    assert result.exit_code == 0, result.output
    assert read_run(directory).search.spec.agent is None
    assert "agent:" not in result.output


def test_an_endpoint_called_rules_is_not_taken_for_no_agent(
    call: Call, search_file: Path, tmp_path: Path
) -> None:
    file = endpoints(tmp_path, f"endpoints: {{rules: {{url: '{NOWHERE}'}}}}")
    result = call(
        "run", search_file, "--agent", "rules", "--agent-endpoints", file, "--dir", tmp_path / "run"
    )
    assert result.exit_code == 2
    assert f"{file}: found an endpoint 'rules'" in result.stderr


def test_a_password_in_a_url_is_refused_and_not_repeated(
    call: Call, search_file: Path, tmp_path: Path
) -> None:
    url = "http://me:hunter2@127.0.0.1:1"
    result = call("run", search_file, "--agent", url, "--dir", tmp_path / "run")
    assert result.exit_code == 2
    assert "error: --agent: no credentials in the URL" in result.stderr
    assert "hunter2" not in result.output
    assert result.stderr.count("\n") == 1


def test_another_agent_keeps_the_deadline_of_the_manifest(
    call: Call, tmp_path: Path, fake_trainer: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "BACKOFF", 0.001)
    directory = tmp_path / "run"
    result = call("run", clustered(tmp_path), "--agent", NOWHERE, "--dir", directory)
    assert result.exit_code == 0, result.output
    agent = read_run(directory).search.spec.agent
    assert agent is not None
    assert (agent.endpoint, agent.timeout_seconds) == ("command-line", 30)


def test_an_endpoint_that_does_not_answer_is_warned_of_at_the_start(
    unheard: tuple[Path, Result],
) -> None:
    lines = unheard[1].output.splitlines()
    warning = f"warning: agent endpoint command-line ({NOWHERE}): {REASON}; the search goes on"
    place = next(i for i, line in enumerate(lines) if warning in line)
    assert place < next(i for i, line in enumerate(lines) if "starts: initial settings" in line)


def test_the_first_answer_of_the_rules_shows_why_and_the_same_reason_is_told_once(
    unheard: tuple[Path, Result],
) -> None:
    told = [line for line in unheard[1].output.splitlines() if "the rules answer for" in line]
    assert re.search(
        r"s  stage [\d-]+: the rules answer for the agent: "
        rf"endpoint command-line: {re.escape(REASON)}$",
        told[0],
    )
    reasons = [re.sub(r"\d+", "#", line.partition("agent: ")[2]) for line in told]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize("command", ["run", "tree", "agent-report"])
def test_the_end_counts_who_answered(
    call: Call, unheard: tuple[Path, Result], command: str
) -> None:
    directory, result = unheard
    output = result.output if command == "run" else call(command, directory).output
    run = read_run(directory)
    count = sum(len(n.status.expansion.answers) for n in run.nodes.values() if n.status.expansion)
    assert count > 0
    words = (
        rf"agent: 0 of {count} answers? by the agent, {count} by the rules in its place; the last"
    )
    assert re.search(words, " ".join(output.split()))


def test_objects_on_stdout_are_not_mixed_with_who_answered(
    call: Call, unheard: tuple[Path, Result], asking_file: Path
) -> None:
    result = call("run", asking_file, "--dir", unheard[0], "--agent", NOWHERE, "-o", "json")
    assert json.loads(result.stdout)["kind"] == "List"
    assert "agent: 0 of" in result.stderr


def test_a_stage_shows_who_answered_and_why(call: Call, unheard: tuple[Path, Result]) -> None:
    run = read_run(unheard[0])
    node = next(n for n in run.nodes.values() if n.status.expansion)
    output = " ".join(call("show", unheard[0], node.spec.path).output.split())
    assert "answered by the rules, for the agent: endpoint command-line" in output


def test_a_search_without_an_agent_says_nothing_of_one(
    call: Call, finished: tuple[Path, Result]
) -> None:
    for output in (finished[1].output, call("tree", finished[0]).output):
        assert "agent:" not in output


def answer(by: Any = "agent", note: str = "", number: int = 0) -> Answered:
    return Answered(
        request_id=f"q{number}",
        answered_by=by,
        provider="" if by == "rules" else "openai:m",
        answer=ProposalAnswer(branch_from=BranchFrom(step=1), proposals=[]),
        note=note,
    )


def expanded(path: str, minute: int, *answers: Answered) -> StageNode:
    expansion = Expansion(answers=list(answers), requested_at=NOW + timedelta(minutes=minute))
    return stage(path, StageStatus(phase=Phase.SUCCEEDED, expansion=expansion))


def test_the_last_reason_is_the_latest_in_time() -> None:
    nodes = [
        expanded("0", 9, answer("rules", "late")),
        expanded("1", 1, answer("rules", "early"), answer()),
        expanded("2", 2, answer("repaired"), answer("rules")),
    ]
    asking = search(agent={"endpoint": "default"})
    assert agent_line(asking, nodes) == (
        "agent: 2 of 5 answers by the agent, 1 by the rules as asked, 2 by the rules in its place; "
        "the last one: late"
    )
    assert agent_line(asking, []) == "agent: nothing was asked"
    assert agent_line(search(), [expanded("0", 1, answer("rules"))]) == ""
    assert agent_line(asking, [expanded("0", 1, answer())]) == "agent: 1 of 1 answer by the agent"


def test_verdicts_are_answers_too() -> None:
    verdict = VerdictAnswer(
        request_id="v", verdict="continue", reason="let it", answered_by="agent"
    )
    node = stage("0", StageStatus(audit=Audit(message="vetoed", at=NOW, step=4, verdict=verdict)))
    assert agent_line(search(), [node]) == "agent: 1 of 1 answer by the agent"
    assert answered_rows(node) == [("verdict by", "the agent")]


def test_repeated_answers_are_one_row_with_their_number() -> None:
    node = expanded("0", 1, answer("rules"), answer("rules"), answer("repaired"), answer(note="n"))
    assert answered_rows(node) == [
        ("answered by", "the rules (2 times)"),
        ("answered by", "the agent (openai:m), repaired"),
        ("answered by", "the agent (openai:m): n"),
    ]


def test_notes_are_one_clean_line() -> None:
    rude = answer("rules", "a\x1b[31m\nb " + "x" * 400)
    told = News().line(stage("0"), rude)
    shown = [told, agent_line(search(), [expanded("0", 1, rude)])]
    for line in shown:
        assert line.isprintable()
        assert len(line) < 450


def test_a_rest_that_counts_down_is_one_reason() -> None:
    news, node = News(), stage("0")
    assert news.line(node, answer("rules", "left alone for 30 s more"))
    assert news.line(node, answer("rules", "left alone for 9 s more")) == ""
    assert news.line(node, answer("rules", "another reason"))
    assert news.line(node, answer("agent", "no price is known")) == ""
    assert news.line(node, answer("rules")) == ""
