"""The loop with a trainer that fails on demand: what each end of a stage leads to."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.names import tag
from llmzero.api.proposals import Answered, ProposalRequest, VerdictAnswer, VerdictRequest
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Agent
from llmzero.api.stage import Outcome, Phase, Purpose, StageNode
from llmzero.client.proposer import RulesProposer, SyncProposer
from llmzero.local import runner as runner_module
from llmzero.local.apply import Asker
from llmzero.local.errors import RunError, UsageError
from llmzero.local.launch import FreshProcess
from llmzero.local.runner import Runner
from llmzero.local.store import RunDirectory, open_run
from tests.fakes.harness import ROOT, manifest


class Recorded:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.most = 0
        self.answers: list[tuple[str, Answered | VerdictAnswer]] = []

    def update(self, search: TrainingSearch, nodes: Mapping[str, StageNode]) -> None:
        under_way = (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)
        self.most = max(self.most, sum(n.status.phase in under_way for n in nodes.values()))

    def started(self, node: StageNode) -> None:
        self.lines.append(f"started {node.spec.path}")

    def ended(self, node: StageNode) -> None:
        self.lines.append(f"ended {node.spec.path}")

    def answered(self, node: StageNode, answer: Answered | VerdictAnswer) -> None:
        self.answers.append((node.spec.path, answer))

    def say(self, text: str) -> None:
        self.lines.append(text)


def since(start: datetime, factor: float = 1.0) -> Callable[[], datetime]:
    began = time.monotonic()
    return lambda: start + timedelta(seconds=(time.monotonic() - began) * factor)


class Lab:
    """Runs of one directory with the fake trainer, in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = folder / "run"
        self.plan = folder / "plan.json"
        self.listener = Recorded()
        self.faults({})
        self._patch = monkeypatch
        monkeypatch.setenv("FAKE_TRAINER_PLAN", str(self.plan))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def faults(self, plan: dict[str, Any]) -> None:
        self.plan.write_text(json.dumps(plan))

    def run(
        self,
        document: dict[str, Any],
        clock: Callable[[], datetime] | None = None,
        asker: Callable[[], AbstractContextManager[Asker]] | None = None,
    ) -> RunDirectory:
        search = TrainingSearch.model_validate(document)
        run = open_run(self.path, search, datetime.now(UTC))
        self._patch.setenv("FAKE_TRAINER_TAG", tag(run.search.metadata.uid))
        launcher = FreshProcess(run.stages, "tests.fakes.fake_trainer")
        clock = clock or since(datetime.now(UTC))
        Runner(run, launcher, self.listener, asker, clock).run()
        return run


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def at(run: RunDirectory, path: str) -> StageNode:
    return next(
        n for n in run.nodes.values() if n.spec.path == path and n.spec.purpose is Purpose.TRAIN
    )


SMALL = manifest(budget={"stages": 2})


def test_a_search_ends_confirmed_on_the_held_out_split(lab: Lab) -> None:
    run = lab.run(manifest({"parallelism": 2}))
    status = run.search.status
    assert status.phase == "Complete"
    assert status.best is not None
    assert {r.subject for r in status.held_out} >= {"winner", "base"}
    assert lab.listener.most == 2
    sequences = sorted(n.status.sequence or 0 for n in run.nodes.values())
    assert sequences == list(range(len(run.nodes)))
    assert all(n.status.phase.final for n in run.nodes.values())


def test_a_complete_search_is_left_as_it_is(lab: Lab) -> None:
    lab.run(SMALL)
    before = {f: f.read_bytes() for f in lab.path.rglob("*.json")}
    lab.listener.lines.clear()
    lab.run(SMALL)
    assert {f: f.read_bytes() for f in lab.path.rglob("*.json")} == before
    assert lab.listener.lines == []


def test_more_budget_goes_on_with_the_same_tree(lab: Lab) -> None:
    before = lab.run(SMALL)
    more = lab.run(manifest(budget={"stages": 4}))
    assert more.search.status.phase == "Complete"
    assert more.search.status.ledger.stages_spent > before.search.status.ledger.stages_spent
    assert all(more.nodes[name].spec == node.spec for name, node in before.nodes.items())


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "crash", "step": 2},
        {"kind": "kill", "step": 2},
        {"kind": "exit", "code": 68, "step": 2},
    ],
)
def test_an_attempt_that_breaks_off_is_made_again(lab: Lab, fault: dict[str, Any]) -> None:
    lab.faults({"*": [{"attempt": 1, **fault}]})
    run = lab.run(SMALL)
    for node in run.nodes.values():
        assert node.status.phase is Phase.SUCCEEDED
        if node.spec.purpose is Purpose.TRAIN:
            assert node.status.attempt_count == 2
    assert run.search.status.phase == "Complete"
    assert run.search.status.ledger.failures == 0


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(65, Outcome.OUT_OF_MEMORY), (66, Outcome.DIVERGED), (64, Outcome.FAILED)],
)
def test_an_end_that_would_only_repeat_is_final(lab: Lab, code: int, outcome: Outcome) -> None:
    lab.faults({"0-1": [{"kind": "exit", "code": code, "step": 3}]})
    run = lab.run(manifest())
    node = at(run, "0-1")
    assert node.status.outcome is outcome
    assert node.status.attempt_count == 1
    assert "fake fault at step 3" in node.status.message
    assert run.search.status.phase == "Complete"


def test_attempts_of_one_stage_are_limited(lab: Lab) -> None:
    lab.faults({"0-1": [{"kind": "crash", "step": 3}]})
    run = lab.run(manifest(budget={"stages": 4, "attempts": 2}))
    node = at(run, "0-1")
    assert node.status.outcome is Outcome.FAILED
    assert node.status.attempt_count == 2
    assert "fake crash at step 3" in node.status.message
    assert run.search.status.phase == "Complete"


def test_too_many_failures_end_the_search(lab: Lab) -> None:
    lab.faults({"*": [{"kind": "exit", "code": 66, "step": 1}]})
    run = lab.run(manifest(budget={"stages": 20, "failures": 2}))
    assert run.search.status.phase == "Failed"
    assert "budget.failures" in run.search.status.message


def test_garbage_among_the_records_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    clean = lab.run(SMALL)
    (tmp_path / "other").mkdir()
    lab.path = tmp_path / "other" / "run"
    lab.faults({"*": [{"kind": "garbage", "step": 2}]})
    dirty = lab.run(SMALL)
    assert [n.status.result for n in clean.nodes.values()] == [
        n.status.result for n in dirty.nodes.values()
    ]


@pytest.mark.parametrize(("code", "error"), [(64, UsageError), (69, RunError), (67, RunError)])
def test_what_lets_no_stage_run_ends_the_run_with_the_reason(
    lab: Lab, code: int, error: type[Exception]
) -> None:
    lab.faults({"*": [{"kind": "exit", "code": code, "step": 1}]})
    with pytest.raises(error, match=r"stage [01]: fake fault at step 1"):
        lab.run(manifest({"parallelism": 2}))
    lab.faults({})
    run = lab.run(manifest({"parallelism": 2}))
    assert run.search.status.phase == "Complete"
    # Both stages failed; the second is judged by the second run, however soon the first succeeds.
    ends = {n.spec.path: (n.status.outcome, n.status.message) for n in run.nodes.values()}
    assert {outcome for outcome, _ in ends.values()} == {Outcome.SUCCEEDED}, ends


def test_a_trainer_that_cannot_even_start_ends_the_run_with_its_last_words(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.chdir("/")
    with pytest.raises(RunError, match="No module named 'tests'"):
        lab.run(SMALL)


def test_a_stage_that_falls_silent_is_stopped_and_made_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "GRACE_SECONDS", 0.2)
    lab.faults({"0": [{"attempt": 1, "kind": "hang", "step": 2}]})
    document = manifest(budget={"stages": 1}, stage={"silenceSeconds": 60, "startSeconds": 3600})
    run = lab.run(document, since(datetime.now(UTC), 60))
    node = at(run, "0")
    assert node.status.phase is Phase.SUCCEEDED
    assert node.status.attempts[0].reason == "Silent"
    assert any("silenceSeconds" in line for line in lab.listener.lines)


def test_a_stage_that_ends_well_without_a_result_has_failed(lab: Lab) -> None:
    lab.faults({"0-1": [{"kind": "mute", "step": 1}]})
    run = lab.run(manifest())
    assert at(run, "0-1").status.phase is Phase.FAILED or at(run, "0-1").status.result is not None
    assert run.search.status.phase == "Complete"


def test_a_suspended_search_starts_nothing_and_goes_on_later(lab: Lab) -> None:
    run = lab.run(manifest(suspend=True))
    assert run.search.status.phase == "Suspended"
    assert run.nodes == {}
    assert lab.run(manifest()).search.status.phase == "Complete"


def test_an_early_stop_is_written_down_before_it_is_told(lab: Lab) -> None:
    lab.faults({"seconds": 0.05})
    document = manifest(
        {
            "parallelism": 2,
            "earlyStopping": {
                "enabled": True,
                "margin": 0.0,
                "looks": 1,
                "grace": 0,
                "auditFraction": 0,
            },
        },
        stage={"steps": 12, "evalEvery": 2, "checkpointEvery": 4},
        budget={"stages": 8},
    )
    run = lab.run(document)
    stopped = [n for n in run.nodes.values() if n.status.outcome is Outcome.EARLY_STOPPED]
    assert stopped
    for node in stopped:
        assert node.status.stop is not None
        assert node.status.cost.stages < node.spec.steps / 12
        assert node.status.phase is Phase.STOPPED
    assert run.search.status.ledger.early_stopped == len(stopped)


def test_every_decision_of_a_stage_is_told_in_order(lab: Lab) -> None:
    lab.run(SMALL)
    for path in {line.split()[1] for line in lab.listener.lines}:
        told = [line.split()[0] for line in lab.listener.lines if line.split()[1] == path]
        assert told[:2] == ["started", "ended"]


class SlowFakeAgent(SyncProposer):
    """Answers as the rules do, late; stops are vetoed."""

    def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered:
        time.sleep(0.05)
        return super().propose(request, agent).with_(answered_by="agent", provider="slow-fake")

    def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer:
        veto = super().review(request, agent)
        return veto.with_(verdict="continue", reason="let it run", answered_by="agent")


def test_answers_of_an_agent_are_stored_before_stages_come_of_them(lab: Lab) -> None:
    lab.faults({"seconds": 0.1})  # a stage outlasts an answer, as real ones do
    document = manifest(
        {"parallelism": 1, "options": {"explore": 0}},
        stage={"steps": 2, "evalEvery": 1, "checkpointEvery": 1},
        budget={"stages": 16},
        agent={"endpoint": "slow-fake"},
    )
    run = lab.run(document, asker=lambda: SlowFakeAgent(RulesProposer()))
    assert run.search.status.phase == "Complete"
    proposed = [n for n in run.nodes.values() if n.spec.provenance.proposer == "agent"]
    assert proposed
    for node in proposed:
        parent = run.nodes[node.spec.parent or ""]
        assert parent.status.expansion is not None
        assert parent.status.expansion.answers[0].provider == "slow-fake"
    stored = [a for n in run.nodes.values() for a in _answers(n)]
    assert sorted(a.request_id for _, a in lab.listener.answers) == sorted(
        a.request_id for a in stored
    )


def _answers(node: StageNode) -> list[Answered]:
    return node.status.expansion.answers if node.status.expansion else []


def test_a_veto_lets_a_doomed_stage_run_on(lab: Lab) -> None:
    lab.faults({"seconds": 0.05})
    stopping = {"margin": 0.0, "looks": 1, "grace": 0, "auditFraction": 0}
    document = manifest(
        {"parallelism": 2, "earlyStopping": stopping},
        stage={"steps": 12, "evalEvery": 2, "checkpointEvery": 4},
        budget={"stages": 6},
        agent={"endpoint": "slow-fake"},
    )
    run = lab.run(document, asker=lambda: SlowFakeAgent(RulesProposer()))
    assert run.search.status.phase == "Complete"
    vetoed = [n for n in run.nodes.values() if n.status.audit is not None]
    assert vetoed
    assert all("let it run" in n.status.audit.message for n in vetoed if n.status.audit)
    told = [path for path, answer in lab.listener.answers if isinstance(answer, VerdictAnswer)]
    assert sorted(told) == sorted(n.spec.path for n in vetoed)
    assert not any(n.status.outcome is Outcome.EARLY_STOPPED for n in run.nodes.values())
