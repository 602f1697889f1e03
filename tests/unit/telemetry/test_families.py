"""What Prometheus reads of the stored objects: true, bounded, escaped, cheap."""

import threading
from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from llmzero.api.base import ObjectMeta
from llmzero.api.contract import Volume
from llmzero.api.proposals import Answered, Expansion, ProposalAnswer, Usage
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget, Storage
from llmzero.api.stage import Cost, Outcome, Phase, Purpose, StageNode, StageStatus
from llmzero.controller.compact import compact
from llmzero.telemetry import SearchCollector, samples
from llmzero.telemetry.families import MOST_LIVE_STAGES
from tests.fakes.prometheus import promtool
from tests.fakes.simulated_search import live, simulated
from tests.unit.builders import NOW, curve, search, stage

SERIES_A_SEARCH = 110
SERIES_A_STAGE = 24


def found(searches: Iterable[TrainingSearch], nodes: Iterable[StageNode]) -> dict[str, float]:
    """Series as text (``name{a="b"}``, sorted labels) to value."""
    series: dict[str, float] = {}
    for family in samples(searches, nodes, NOW):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("namespace", "search")}
            inner = ",".join(f'{k}="{v}"' for k, v in sorted(labels.items()))
            series[sample.name + (f"{{{inner}}}" if inner else "")] = sample.value
    return series


def page(searches: Sequence[TrainingSearch], nodes: Sequence[StageNode]) -> str:
    registry = CollectorRegistry()
    registry.register(SearchCollector(lambda: (searches, nodes), lambda: NOW))
    return generate_latest(registry).decode()


def running(path: str = "0", **status: object) -> StageNode:
    return stage(path, StageStatus.model_validate({"phase": "Running", "step": 20, **status}))


def test_the_room_on_the_volume_is_what_was_told_last_while_the_search_goes_on() -> None:
    def told(seconds: int, free: int) -> Volume:
        at = NOW - timedelta(seconds=seconds)
        return Volume(capacity_bytes=100, available_bytes=free, at=at)

    going = search(storage={"claimName": "checkpoints"})
    going = going.with_(status=going.status.with_(phase="Running"))
    nodes = [running("0", volume=told(90, 50)), running("1", volume=told(10, 7)), running("2")]
    series = found([going], nodes)
    at = '{persistentvolumeclaim="checkpoints"}'
    assert series[f"llmzero_search_volume_available_bytes{at}"] == 7
    assert series[f"llmzero_search_volume_capacity_bytes{at}"] == 100
    over = going.with_(status=going.status.with_(phase="Complete"))
    assert not [name for name in found([over], nodes) if "search_volume" in name]


def test_a_live_stage_tells_its_latest_dynamics() -> None:
    made = curve(
        {0: 0.1, 20: 0.4},
        reward=[0.1, 0.3, None],
        kl=[0.0, 0.01, 0.02],
        completions__clipped_ratio=[0.0, 0.0, 0.25],
        frac_reward_zero_std=[0.5, 0.5, 0.5],
    )
    heard = NOW - timedelta(seconds=42)
    cost = Cost(device_seconds=20, train_tokens=1000)
    node = running(curve=made, last_heard_at=heard, cost=cost, attempt_count=2)
    series = found([search()], [node])
    at = '{path="0"}'
    assert series["llmzero_stage_reward" + at] == 0.3, "the latest number, not the latest point"
    assert series["llmzero_stage_kl_nats" + at] == 0.02
    assert series["llmzero_stage_clipped_ratio" + at] == 0.25
    assert series["llmzero_stage_dead_groups_ratio" + at] == 0.5
    assert series["llmzero_stage_objective" + at] == 0.4
    assert series["llmzero_stage_objective_standard_error" + at] == 0.02
    assert series["llmzero_stage_tokens_per_second" + at] == 50
    assert series["llmzero_stage_silence_seconds" + at] == 42
    assert series["llmzero_stage_step" + at] == 20
    assert "llmzero_stage_entropy_nats" + at not in series, "what was never logged has no series"


def test_the_budget_adds_up_by_segment() -> None:
    ended = StageStatus(phase=Phase.SUCCEEDED, outcome=Outcome.SUCCEEDED, step=40)
    failed = StageStatus(phase=Phase.FAILED, outcome=Outcome.DIVERGED, step=4)
    nodes = [
        stage("0", ended, segment="screen", steps=20),
        stage("1", failed, segment="tree"),
        running("2"),
    ]
    made = search(budget=Budget(stages=10, gpu_hours=2).dump())
    series = found([made], nodes)
    assert series['llmzero_search_budget_spent_stages{segment="screen"}'] == 0.5
    assert series['llmzero_search_budget_spent_stages{segment="tree"}'] == 0.25, (
        "at least a quarter"
    )
    assert series['llmzero_search_budget_reserved_stages{segment="tree"}'] == 1
    assert series["llmzero_search_budget_device_seconds"] == 7200
    shares = [v for k, v in series.items() if k.startswith("llmzero_search_budget_share")]
    assert sum(shares) == pytest.approx(10)
    assert series['llmzero_search_stages_ended_total{outcome="Diverged"}'] == 1


def test_the_agents_answers_are_counted_by_who_gave_them() -> None:
    usage = Usage(input_tokens=100, output_tokens=20, dollars=0.5)
    answer = ProposalAnswer.model_validate({"branchFrom": {"step": 1}, "proposals": []})
    answers = [
        Answered.model_validate(
            {"requestId": "r", "answeredBy": who, "note": note, "answer": answer, "usage": usage}
        )
        for who, note in (("agent", ""), ("agent", "no price"), ("rules", "refused"), ("rules", ""))
    ]
    node = stage("0", StageStatus(phase=Phase.SUCCEEDED, expansion=Expansion(answers=answers)))
    series = found([search(approval="manual")], [node])
    assert series['llmzero_search_agent_answers_total{answered_by="agent"}'] == 2
    assert series['llmzero_search_agent_answers_total{answered_by="rules"}'] == 1
    assert series['llmzero_search_agent_answers_total{answered_by="stand-in"}'] == 1
    assert series['llmzero_search_agent_tokens_total{direction="input"}'] == 400
    assert series["llmzero_search_agent_dollars_total"] == 2
    assert series["llmzero_search_approvals_waiting"] == 1


def test_a_simulated_search_agrees_with_its_own_ledger() -> None:
    made, nodes = simulated()
    series = found([made], nodes)
    ledger = made.status.ledger
    spent = sum(v for k, v in series.items() if k.startswith("llmzero_search_budget_spent"))
    assert spent == pytest.approx(ledger.stages_spent, abs=1e-4)
    assert series["llmzero_search_device_seconds_total"] / 3600 == pytest.approx(ledger.gpu_hours)
    assert series['llmzero_search_tokens_total{use="train"}'] == ledger.train_tokens
    assert made.status.best is not None
    assert series['llmzero_search_best_objective{split="promote"}'] == made.status.best.value
    assert series['llmzero_search_held_out_objective{subject="base"}'] > 0
    assert series['llmzero_search_phase{phase="Complete"}'] == 1


def test_series_of_a_stage_go_when_it_ends() -> None:
    made, nodes = simulated(ended=6)
    assert live(nodes)
    during = found([made], nodes)
    assert {k for k in during if k.startswith("llmzero_stage_")}
    assert during["llmzero_best_stage_objective"] > 0, "the line to hold live stages against"
    ended = [n.with_(status=n.status.with_(phase=Phase.SUCCEEDED)) for n in nodes]
    assert not {k for k in found([made], ended) if k.startswith("llmzero_stage_")}
    complete = made.with_(status=made.status.with_(phase="Complete"))
    after = found([complete], nodes)
    assert not {k for k in after if k.startswith(("llmzero_stage_", "llmzero_best_stage_"))}


def test_an_evaluation_is_no_stage_of_training() -> None:
    node = stage("0", StageStatus(phase=Phase.RUNNING), purpose=Purpose.PROMOTE, steps=0)
    series = found([search()], [node])
    assert series["llmzero_search_tree_stages"] == 0
    assert not {k for k in series if k.startswith("llmzero_stage_")}


def ten_thousand(active: int) -> list[StageNode]:
    """Ended stages with packed curves, as the operator holds them, and ``active`` live ones."""
    made = curve({0: 0.1, 40: 0.4}, reward=[0.1] * 40, kl=[0.01] * 40)
    ended = StageStatus(phase=Phase.SUCCEEDED, outcome=Outcome.SUCCEEDED, step=40, curve=made)
    status = compact(stage("0", ended)).status
    template = stage("0")
    nodes = []
    for i in range(10_000):
        spec = template.spec.with_(path=f"0-{i}")
        node = template.with_(metadata=ObjectMeta(name=f"test-0-{i}"), spec=spec, status=status)
        nodes.append(node)
    return nodes[: 10_000 - active] + [running(f"1-{i}", curve=made) for i in range(active)]


def test_ten_thousand_stages_have_no_more_series_than_ten() -> None:
    few = found([search()], [*ten_thousand(4)[-14:]])
    many = found([search()], ten_thousand(4))
    assert set(few) == set(many)
    assert len(many) <= SERIES_A_SEARCH + 4 * SERIES_A_STAGE


def test_live_stages_beyond_the_bound_are_counted_not_shown() -> None:
    series = found([search()], ten_thousand(2000))
    shown = {k for k in series if k.startswith("llmzero_stage_step{")}
    assert len(shown) == MOST_LIVE_STAGES
    assert series["llmzero_live_stages_hidden"] == 2000 - MOST_LIVE_STAGES
    assert len(series) <= SERIES_A_SEARCH + MOST_LIVE_STAGES * SERIES_A_STAGE


def test_a_label_says_what_the_user_wrote_and_breaks_nothing() -> None:
    evil = 'a"} 1\nllmzero_leader 1\n# HELP \\ ' + "x" * 200
    made = search().with_(spec=search().spec.with_(storage=Storage(claim_name=evil)))
    families = {f.name: f for f in text_string_to_metric_families(page([made], []))}
    assert "llmzero_leader" not in families
    label = families["llmzero_search_info"].samples[0].labels["persistentvolumeclaim"]
    assert label.startswith('a"} 1\nllmzero_leader 1\n# HELP \\ x') and len(label) == 128


def test_the_collector_answers_a_flood_from_one_snapshot() -> None:
    nodes, taken = ten_thousand(4), 0

    def snapshot() -> tuple[list[TrainingSearch], list[StageNode]]:
        nonlocal taken
        taken += 1
        return [search()], list(nodes)

    collector = SearchCollector(snapshot, lambda: NOW, fresh_seconds=60)
    threads = [threading.Thread(target=lambda: list(collector.collect())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == 1


def test_a_snapshot_is_made_anew_when_it_is_old() -> None:
    shown: list[StageNode] = []
    collector = SearchCollector(lambda: ([search()], list(shown)), lambda: NOW, fresh_seconds=0)

    def count() -> float:
        return next(
            f.samples[0].value
            for f in collector.collect()
            if f.name == "llmzero_search_tree_stages"
        )

    assert count() == 0
    shown.append(running())
    assert count() == 1


def test_promtool_finds_nothing_to_mend() -> None:
    made, nodes = simulated(ended=6)
    done = promtool("check", "metrics", text=page([made], nodes))
    assert (done.returncode, done.stderr) == (0, "")
