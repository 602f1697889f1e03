"""Recorded searches and the worlds that are fitted to them; a known world stands in for training."""

from pathlib import Path

import pytest

from llmzero.api.stage import Purpose
from llmzero.simulator import SimulatedEngine
from llmzero.simulator.families.saturating import Saturating
from llmzero.simulator.problems import simulated_search
from llmzero.simulator.training import SimulatedTrainer
from tests.bench.bench_simulator import Fitted, Luckless, fit, predicted, tried
from tests.bench.recorded import Recorded, read, record, write

SEEDS = range(4)


def quick() -> Saturating:
    """So quick a learner that the settings of a stage tell at its end."""
    world = Saturating(0)
    world.middle = 15.0
    return world


def searched(strategy: str, seed: int, folder: Path) -> SimulatedEngine:
    """A search in that world, and its run directory as the benchmark leaves one."""
    engine = SimulatedEngine(simulated_search(strategy, seed=seed, stages=12), quick())
    engine.run()
    run = folder / f"{strategy}-{seed}" / "run"
    (run / "nodes").mkdir(parents=True)
    (run / "search.json").write_text(engine.search.model_dump_json(by_alias=True))
    for node in engine.nodes.values():
        (run / "nodes" / f"{node.name}.json").write_text(node.model_dump_json(by_alias=True))
    return engine


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    folder = tmp_path_factory.mktemp("bench")
    for seed in SEEDS:
        searched("random", seed, folder)
    return [record(run) for run in sorted(folder.glob("*/run"))]


def test_what_is_recorded_is_read_again(searches: list[Recorded], tmp_path: Path) -> None:
    write(searches, tmp_path / "recorded.jsonl")
    assert read(tmp_path / "recorded.jsonl") == searches
    assert [s.seed for s in searches] == list(SEEDS)
    for search in searches:
        assert search.stages[0].parent is None and search.stages[0].steps[0] == 0
        for place, stage in enumerate(search.stages):
            assert stage.parent is None or stage.parent < place
    with pytest.raises(ValueError, match="METHOD-SEED"):
        record(tmp_path / "random" / "run")


def test_a_prediction_is_what_a_luckless_trainer_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By llmzero, whose stages begin at earlier checkpoints, with and without moments carried."""
    monkeypatch.setattr(SimulatedTrainer, "_luck", lambda *_: Luckless(0))
    engine = searched("llmzero", 3, tmp_path)
    recorded = record(tmp_path / "llmzero-3" / "run")
    trained = (n for n in engine.nodes.values() if n.spec.purpose is Purpose.TRAIN)
    nodes = sorted(trained, key=lambda n: len(n.spec.path))
    pairs = list(zip(nodes, predicted(quick(), recorded), strict=True))
    for node, (stage, found) in pairs:
        for step, accuracy in zip(stage.steps, found, strict=True):
            if step:
                state = engine.trainer.states[node.name, step]
                assert accuracy == pytest.approx(quick().accuracy(state), rel=1e-2)
    assert {stage.carried for _, (stage, _) in pairs} > {(True, True)}
    assert any(0 < stage.begun < 100 for _, (stage, _) in pairs)


def test_constants_are_found_again_from_what_was_scored(searches: list[Recorded]) -> None:
    """200 questions a reading: a binomial error of about .03, and the luck of a stage beside it."""
    world = quick()
    bounds = {"calm_rate": (1e-6, 1e-2), "middle": (5.0, 1000.0), "ceiling": (0.5, 1.0)}
    known = {n: getattr(world, n) for n in ("memory", "power", "growth")}
    found, told = fit(Fitted(Saturating, bounds, known), searches[::2])
    assert told["constants"]["first"] == pytest.approx(world.first, abs=0.05)
    assert told["constants"]["ceiling"] == pytest.approx(world.ceiling, abs=0.08)
    assert 0.5 < told["constants"]["calm_rate"] / world.calm_rate < 2
    assert told["atBound"] == []
    on_others = tried(found, searches[::2], searches[1::2])
    assert on_others["error"] < 0.1 < on_others["errorOfBase"]
    assert on_others["error"] < on_others["errorOfEqualSteps"]
