"""What a child takes over from its parent: weights, moments, the KL reference, an adapter."""

import json
import shutil
from typing import Any

import pytest

from llmzero.api.contract import ExitCode
from llmzero.api.task import Lora, ModelSource
from tests.integration.trainer.conftest import Bench, Run, same, stage_request

CHILD: dict[str, Any] = {"start_node": "parent", "start_step": 4, "steps": 2}
LORA = ModelSource(builtin="scratchpad-addition", peft=Lora(r=4, lora_alpha=8))


def moments(run: Run, step: int) -> dict[str, Any]:
    import torch

    file = run.directory / f"checkpoint-{step}" / "optimizer.pt"
    state: dict[str, Any] = torch.load(file, weights_only=True)
    return state


def kl(run: Run) -> list[float]:
    return [r.metrics["kl"] for r in run.of("step")]


def test_a_fresh_stage_starts_from_the_parents_weights_and_no_moments(
    family: Bench, parent: Run
) -> None:
    run = family.run(stage_request("fresh", **CHILD, grpo={"learning_rate": 0.0}))
    assert same(run.weights(2), parent.weights(4))
    state = moments(family.run(stage_request("fresh-lr", **CHILD)), 2)
    assert {float(s["step"]) for s in state["state"].values()} == {2.0}


def test_carried_moments_keep_this_stages_own_settings(family: Bench, parent: Run) -> None:
    grpo = {"learning_rate": 2e-4, "weight_decay": 0.01}
    carried = family.run(stage_request("carried", **CHILD, carry_optimizer=True, grpo=grpo))
    fresh = family.run(stage_request("not-carried", **CHILD, grpo=grpo))
    state = moments(carried, 2)
    assert {float(s["step"]) for s in state["state"].values()} == {6.0}
    assert {g["lr"] for g in state["param_groups"]} == {2e-4}
    assert 0.01 in {g["weight_decay"] for g in state["param_groups"]}
    assert carried.of("step")[0].metrics["learning_rate"] == 2e-4
    assert not same(carried.weights(2), fresh.weights(2))


def test_missing_moments_are_named(family: Bench, parent: Run) -> None:
    shutil.copytree(parent.directory, family.root / "uid" / "bare")
    (family.root / "uid" / "bare" / "checkpoint-4" / "optimizer.pt").unlink()
    start = {**CHILD, "start_node": "bare"}
    run = family.run(stage_request("orphan", **start, carry_optimizer=True))
    assert run.code == ExitCode.STORAGE
    assert "checkpoint-4/optimizer.pt" in run.result.message


def test_the_reference_is_the_parent_or_the_parents_own(family: Bench, parent: Run) -> None:
    beta = {"grpo": {"beta": 0.1}}
    own = family.run(stage_request("own-reference", **CHILD, **beta))
    carried = family.run(stage_request("base-reference", **CHILD, **beta, carry_reference=True))
    assert kl(own)[0] == pytest.approx(0, abs=1e-7)  # the policy still is its reference
    assert kl(carried)[0] > 1e-4  # the parent has moved away from the base model

    further = {"start_node": "base-reference", "start_step": 2, "steps": 1}
    grandchild = family.run(stage_request("grandchild", **further, **beta, carry_reference=True))
    assert json.loads((grandchild.directory / "reference/reference.json").read_text()) == {
        "base": True
    }
    middle = {"start_node": "own-reference", "start_step": 2, "steps": 1}
    other = family.run(stage_request("other", **middle, **beta, carry_reference=True))
    kept = other.directory / "reference" / "model.safetensors"
    assert kept.samefile(parent.directory / "checkpoint-4" / "model.safetensors")
    assert kl(other)[0] > 1e-6


def test_a_reference_outlives_the_pruning_of_its_checkpoint(family: Bench, parent: Run) -> None:
    from llmzero_trainer.directory import StageDirectory

    shutil.copytree(parent.directory, family.root / "uid" / "pruned")
    first = {**CHILD, "start_node": "pruned"}
    family.run(stage_request("child-of-pruned", **first))
    assert StageDirectory(family.root / "uid" / "pruned", 1).prune({2}) == [4]
    second = {"start_node": "child-of-pruned", "start_step": 2, "steps": 1}
    run = family.run(
        stage_request("grandchild-of-pruned", **second, carry_reference=True, grpo={"beta": 0.1})
    )
    assert run.code == 0 and kl(run)[0] > 1e-6
    late = family.run(stage_request("late", **first))
    assert late.code == ExitCode.STORAGE
    assert "uid/pruned/checkpoint-4: the checkpoint to start from is not there" in (
        late.result.message
    )


@pytest.fixture(scope="module")
def adapted(family: Bench, parent: Run) -> Run:
    run = family.run(stage_request("lora", model=LORA, grpo={"learning_rate": 1e-2}))
    assert run.code == 0
    return run


def test_lora_trains_a_small_adapter(adapted: Run) -> None:
    two, four = adapted.weights(2), adapted.weights(4)
    assert all(".lora_" in name for name in four)
    assert not same(two, four)
    assert any(bool(w.any()) for n, w in four.items() if ".lora_B." in n)  # TRL #6700
    assert not (adapted.directory / "checkpoint-4" / "model.safetensors").exists()


def test_a_child_goes_on_with_the_parents_adapter(family: Bench, adapted: Run) -> None:
    start = {"model": LORA, "start_node": "lora", "start_step": 4, "steps": 2}
    still = family.run(stage_request("lora-still", **start, grpo={"learning_rate": 0.0}))
    assert same(still.weights(2), adapted.weights(4))
    moved = family.run(stage_request("lora-moved", **start, grpo={"beta": 0.1}))
    assert not same(moved.weights(2), adapted.weights(4))
    assert kl(moved)[0] == pytest.approx(0, abs=1e-7)
    carried = family.run(
        stage_request("lora-carried", **start, grpo={"beta": 0.1}, carry_reference=True)
    )
    assert kl(carried)[0] > 1e-4

    scored = family.run(
        stage_request("lora-scored", **{**start, "steps": 0}, mode="evaluate", split="promote")
    )
    assert scored.code == 0 and scored.result.questions == 30


def test_a_carried_adapter_reference_is_the_parents_reference(family: Bench, adapted: Run) -> None:
    first = {"model": LORA, "start_node": "lora", "start_step": 4, "steps": 2}
    family.run(stage_request("lora-a", **first, grpo={"beta": 0.1, "learning_rate": 0.0}))
    second = {"model": LORA, "start_node": "lora-a", "start_step": 2, "steps": 1}
    run = family.run(stage_request("lora-b", **second, grpo={"beta": 0.1}, carry_reference=True))
    assert kl(run)[0] == pytest.approx(0, abs=1e-7)  # lora-a did not move from its reference


def test_a_lora_stage_resumes_bit_identically(
    family: Bench, adapted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmzero_trainer.training import StageCallback

    start = {"model": LORA, "start_node": "lora", "start_step": 4, "grpo": {"beta": 0.1}}
    whole = family.run(stage_request("lora-whole", **start))
    plain = StageCallback.on_log

    def on_log(self: Any, args: Any, state: Any, *rest: Any, **keywords: Any) -> None:
        plain(self, args, state, *rest, **keywords)
        if state.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageCallback, "on_log", on_log)
        with pytest.raises(KeyboardInterrupt):
            family.run(stage_request("lora-cut", **start))
    cut = family.run(stage_request("lora-cut", **start), attempt=2)
    assert cut.of("attempt")[-1].resumed_from == 2
    assert same(cut.weights(4), whole.weights(4))
