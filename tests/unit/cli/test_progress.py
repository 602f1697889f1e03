"""The live view on a terminal."""

import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from llmzero.api.search import Best, Ledger, SearchStatus, TrainingSearch
from llmzero.api.stage import Outcome, Phase, Result, StageNode, StageStatus
from llmzero.cli.progress import Progress, eta
from llmzero.cli.views import tree
from tests.unit.builders import search, stage


def status(phase: Phase, step: int = 0, value: float | None = None, n: int = 0) -> StageStatus:
    done = value is not None
    result = Result(value=value or 0, standard_error=0.02, questions=100, step=step)
    return StageStatus(
        phase=phase,
        step=step,
        result=result if done else None,
        sequence=n if done else None,
        outcome=Outcome.SUCCEEDED if done else None,
    )


def searching(spent: float = 2.0) -> TrainingSearch:
    found = search(budget={"stages": 8})
    return found.with_(
        status=SearchStatus(
            phase="Running",
            ledger=Ledger(stages_spent=spent),
            best=Best(node="test-0", path="0", value=0.5, standard_error=0.02),
        )
    )


NODES = {
    n.name: n
    for n in (
        stage("0", status(Phase.SUCCEEDED, 40, 0.5, 1)),
        stage("0-0", status(Phase.RUNNING, 10)),
        stage("1", status(Phase.QUEUED)),
    )
}


def shown(nodes: Mapping[str, StageNode], height: int = 30) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, height=height)
    with Progress(console, searching()) as progress:
        progress.update(searching(), nodes)
    return out.getvalue()


def test_the_tree_grows_with_a_bar_for_each_running_stage() -> None:
    picture = Console(file=io.StringIO(), width=120)
    with picture.capture() as captured:
        picture.print(tree(searching(), NODES.values()))
    lines = captured.get().splitlines()
    assert "0.500 ± 0.020" in lines[1]
    assert "← best" in lines[1]
    assert "━━╌╌╌╌╌╌╌╌ 10/40" in lines[2]
    assert lines[2].startswith("│   └── ")
    assert "starting" in lines[3]


def test_the_terminal_shows_budget_best_and_tree() -> None:
    picture = shown(NODES)
    for text in ("budget 2.00 of 8 stages", "best 0.500 ± 0.020 (stage 0)", "10/40"):
        assert text in picture


@pytest.mark.parametrize("height", [8, 12, 20])
def test_a_large_tree_shows_what_matters_now(height: int) -> None:
    nodes = {
        f"test-{i}": stage(str(i), status(Phase.SUCCEEDED, 40, 0.1, i)) for i in range(1, 60)
    } | NODES
    picture = shown(nodes, height)
    assert "10/40" in picture
    assert "← best" in picture
    assert "more" in picture
    assert picture.count("├──") + picture.count("└──") <= 2 * height  # drawn at most twice


def test_the_time_left_follows_from_the_rate_so_far() -> None:
    assert eta(searching(2), 60, 0) == "~3 min left"
    assert eta(searching(7), 70, 0) == "~10 s left"
    assert eta(searching(2), 60, 2) == ""
    assert eta(searching(8), 60, 0) == ""
