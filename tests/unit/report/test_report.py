"""The page holds the whole search as data, and nothing from the objects becomes markup."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.search import Best, TrainingSearch
from llmzero.api.stage import (
    CheckpointRef,
    Cost,
    Outcome,
    Phase,
    Provenance,
    Result,
    StageNode,
    StageStatus,
)
from llmzero.report import render
from llmzero.report.layout import tidy
from llmzero.report.path import best_path, path_to
from llmzero.report.schedule import schedule_of
from tests.unit.builders import curve, search, stage


def finished(value: float, path: str = "0", **spec: Any) -> StageNode:
    status = StageStatus(
        phase=Phase.SUCCEEDED,
        outcome=Outcome.SUCCEEDED,
        result=Result(value=value, standard_error=0.02, questions=200, step=40),
        curve=curve({0: 0.3, 40: value}, reward=[0.1, 0.2, float(value)]),
        cost=Cost(stages=1),
    )
    return stage(path, status, **spec)


def found(best: str | None = "test-0-1") -> TrainingSearch:
    made = search()
    if best is None:
        return made
    winner = Best(node=best, path=best.removeprefix("test-"), value=0.8, standard_error=0.02)
    return made.with_(status=made.status.with_(best=winner))


def data(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert match
    read: dict[str, Any] = json.loads(match[1])
    return read


NODES = [finished(0.5), finished(0.6, "0-0"), finished(0.8, "0-1"), finished(0.4, "1")]


def test_the_page_holds_every_stage_and_the_best_path() -> None:
    embedded = data(render(found(), NODES))
    assert [s["path"] for s in embedded["stages"]] == ["0", "0-0", "0-1", "1"]
    assert [p["name"] for p in embedded["bestPath"]] == ["test-0", "test-0-1"]
    assert embedded["stages"][2]["value"] == 0.8
    assert "kind: TrainingSearch" in embedded["manifest"]


def test_a_search_without_stages_has_a_page() -> None:
    assert data(render(found(None), []))["stages"] == []


def test_nothing_is_fetched_from_anywhere() -> None:
    page = render(found(), NODES)
    assert not re.search(r'(src|href)="', page)
    assert "default-src 'none'" in page


def test_text_of_an_agent_cannot_become_markup() -> None:
    evil = "</script><script>alert(1)</script><!--"
    node = finished(0.5, provenance=Provenance(proposer="agent", rationale=evil))
    page = render(found(None), [node])
    assert page.count("<script") == 2
    assert data(page)["stages"][0]["why"] == evil


def test_two_hundred_stages_fit_into_two_megabytes() -> None:
    long = curve(dict.fromkeys(range(8), 0.5), reward=[0.123456] * 48, entropy=[1.23456] * 48)
    status = finished(0.5).status.with_(curve=long)
    nodes = [stage(str(i), status) for i in range(200)]
    assert len(render(found(None), nodes).encode()) < 2 * 1024 * 1024


def test_the_gain_of_a_stage_is_against_the_one_before() -> None:
    steps = best_path(found(), NODES)
    assert [s.node.spec.path for s in steps] == ["0", "0-1"]
    assert steps[0].gain is None
    assert steps[1].gain is not None
    assert abs(steps[1].gain - 0.3) < 1e-9
    assert path_to(NODES, "gone") == []


def test_a_stage_counts_up_to_the_checkpoint_that_the_next_starts_from() -> None:
    """In the table, in the page's timelines and in an export alike."""
    above = finished(0.5)
    scores = curve({0: 0.3, 20: 0.4, 40: 0.5})
    above = above.with_(status=above.status.with_(curve=scores, checkpoints=[20, 40]))
    below = finished(0.8, "0-1", start=CheckpointRef(node=above.name, step=20))
    steps = best_path(found(), [above, below])
    assert [s.steps for s in steps] == [20, 40]
    assert steps[1].gain == pytest.approx(0.4), "over the checkpoint at step 20, not the end"
    document = schedule_of(found(), [above, below])
    assert [s.steps for s in document.stages] == [20, 40]
    assert [p["steps"] for p in data(render(found(), [above, below]))["bestPath"]] == [20, 40]


@given(st.lists(st.integers(0, 30), max_size=40))
def test_no_two_stages_stand_on_the_same_spot(parents: list[int]) -> None:
    names = ["r"]
    children: dict[str, list[str]] = {}
    for i, parent in enumerate(parents):
        children.setdefault(names[parent % len(names)], []).append(f"n{i}")
        names.append(f"n{i}")
    places = tidy(children, "r")
    assert set(places) == set(names)
    assert len(set(places.values())) == len(names)
    for name, below in children.items():
        assert all(places[b].column == places[name].column + 1 for b in below)
