"""A person's word on waiting proposals reaches the stage through a note beside the run."""

from pathlib import Path

import pytest
import typer

from llmzero.api.proposals import Answered, BranchFrom, Expansion, Proposal, ProposalAnswer
from llmzero.api.stage import Provenance
from llmzero.cli.approve import approve, reject
from llmzero.local import approvals
from llmzero.local.store import RunDirectory, open_run, read_run
from llmzero.search.expansion import with_answer
from llmzero.search.nodes import train_node
from tests.unit.builders import NOW, search


def answered(number: int) -> Answered:
    return Answered(
        request_id=f"q{number}",
        answer=ProposalAnswer(
            branch_from=BranchFrom(step=20),
            proposals=[Proposal(changes={"beta": 0.04}, rationale="hold [bold]it[/]")],
        ),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    found = open_run(tmp_path / "run", search(approval="manual"), NOW)
    for number in range(2):
        node = train_node(
            found.search, parent=None, number=number, steps=40, parameters={},
            provenance=Provenance(proposer="initial"), segment="screen",
        )  # fmt: skip
        found.create(node, NOW)
    name = next(iter(found.nodes))
    store(found, name, with_answer(None, answered(0), manual=True))
    return found


def store(run: RunDirectory, name: str, expansion: Expansion) -> None:
    run.save_status(name, run.nodes[name].status.with_(expansion=expansion))


@pytest.mark.parametrize(("command", "word"), [(approve, True), (reject, False)])
def test_the_word_is_stored_once_by_the_runner(
    run: RunDirectory, command: object, word: bool
) -> None:
    command(run.path, ["0"])  # type: ignore[operator]
    (name, *_) = run.nodes
    assert read_run(run.path).nodes[name].status.expansion.approved is None  # type: ignore[union-attr]
    assert approvals.take(run) is True
    assert read_run(run.path).nodes[name].status.expansion.approved is word  # type: ignore[union-attr]
    assert approvals.take(run) is False


def test_what_the_person_has_not_seen_is_not_approved(run: RunDirectory) -> None:
    approve(run.path, ["0"])
    name = next(iter(run.nodes))
    store(run, name, with_answer(run.nodes[name].status.expansion, answered(1), manual=True))
    assert approvals.take(run) is False
    assert run.nodes[name].status.expansion.approved is None  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["", "[]", '{"approved": 1, "answers": 1}', '{"approved": true}'])
def test_a_broken_note_is_dropped(run: RunDirectory, text: str) -> None:
    name = next(iter(run.nodes))
    (run.path / approvals.FOLDER).mkdir()
    for stem in (name, "no-such-stage"):
        (run.path / approvals.FOLDER / f"{stem}.json").write_text(text)
    assert approvals.take(run) is False
    assert list((run.path / approvals.FOLDER).iterdir()) == []


def test_without_a_stage_the_waiting_proposals_are_listed(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    approve(run.path)
    assert (
        "stage 0, from 0 step 20, rules: beta = 0.04 (hold [bold]it[/])" in capsys.readouterr().out
    )
    with pytest.raises(typer.Exit):
        approve(run.path, ["1"])
    assert "1: has no proposals" in capsys.readouterr().err
