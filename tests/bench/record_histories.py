"""Record stage histories of the tiny model, good and ill: ``python -m tests.bench.record_histories``.

Real GRPO on scratchpad addition; each run is one stage with settings that invite one illness.
Writes tests/bench/real/<name>.jsonl (the trainer's own records) beside the settings in cases.json.
"""

import io
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    StageRequest,
    parse_record,
)
from llmzero.api.curve import CURVE_METRICS
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Reward, Splits, Task

FOLDER = Path(__file__).parent / "real"
GRPO: dict[str, Any] = {
    "learning_rate": 3e-4,
    "beta": 0.0,
    "temperature": 1.0,
    "max_completion_length": 16,
    "num_generations": 8,
    "per_device_train_batch_size": 64,
    "num_iterations": 1,
    "lr_scheduler_type": "constant_with_warmup",
}


@dataclass(frozen=True)
class Case:
    """Settings, and the kinds any of which a reader may honestly call the illness (none: well)."""

    name: str
    kinds: tuple[str, ...]
    grpo: dict[str, Any] = field(default_factory=dict)
    rewards: tuple[Reward, ...] = (Reward(name="task"),)
    train: int = 2000
    steps: int = 48


CASES = (
    Case("well", ()),
    Case("well-softer", (), {"learning_rate": 1e-4, "beta": 0.01}),
    Case("rate-too-high", ("NonFinite", "GradientSpikes", "PolicyDrift", "EntropyCollapse"), {"learning_rate": 3e-2}),
    Case("rate-high", ("PolicyDrift", "EntropyCollapse", "RewardHacking", "Overfit", "GradientSpikes"), {"learning_rate": 5e-3, "beta": 0.001}),
    Case("rate-too-low", ("Plateau",), {"learning_rate": 1e-8}),
    Case("temperature-too-low", ("ZeroVarianceGroups", "EntropyCollapse"), {"temperature": 0.1}),
    Case("temperature-too-high", ("Truncation", "EntropyExplosion", "Plateau"), {"temperature": 3.0}),
    Case("length-too-short", ("Truncation",), {"max_completion_length": 5}),
    Case("length-far-too-short", ("Truncation",), {"max_completion_length": 4}),
    Case("length-just-enough", (), {"max_completion_length": 9}),
    Case("kl-too-strong", ("OverConstrained", "Plateau"), {"beta": 5.0}),
    Case("groups-too-small", ("ZeroVarianceGroups",), {"num_generations": 2}),
    Case("reuse-too-much", ("ClipSaturation", "PolicyDrift", "EntropyCollapse"), {"num_iterations": 8, "learning_rate": 2e-3}),
    Case("reward-for-length", ("LengthHacking", "RewardHacking", "Truncation"), rewards=(Reward(name="tests.bench.odd_rewards:longer"),), grpo={"max_completion_length": 32, "learning_rate": 1e-3}),
    Case("reward-for-a-sign", ("RewardHacking", "Overfit", "Truncation"), rewards=(Reward(name="tests.bench.odd_rewards:greater_signs"),), grpo={"max_completion_length": 24, "learning_rate": 1e-3}),
    Case("eight-questions", ("Overfit", "RewardHacking", "ZeroVarianceGroups"), {"learning_rate": 1e-3}, train=8),
)  # fmt: skip


def record(case: Case, root: Path) -> list[str]:
    """The trainer's record lines, step metrics cut down to what a curve keeps."""
    from llmzero_trainer.__main__ import run_stage

    request = StageRequest(
        search_uid="bench",
        node=case.name,
        model=ModelSource(builtin="scratchpad-addition"),
        task=Task(
            name="scratchpad-addition",
            splits=Splits(train=case.train, search=200, promote=20, held_out=20),
            rewards=list(case.rewards),
        ),
        objective_metric="eval/accuracy",
        grpo={**GRPO, **case.grpo},
        evaluation=Evaluation(max_completion_length=16, batch_size=200),
        steps=case.steps,
        prompts_per_step=8,
        eval_every=case.steps // 4,
        checkpoint_every=case.steps // 4,
        order_seed=0,
        data_offset=0,
        rollout_seed=1,
    )
    os.environ |= {
        REQUEST_ENV: request.encode(),
        REQUEST_HASH_ENV: request.digest(),
        ROOT_ENV: str(root),
        ATTEMPT_ENV: "1",
    }
    out = io.StringIO()
    run_stage(out)
    lines = []
    for line in out.getvalue().splitlines():
        data = parse_record(line).dump()
        if data["type"] == "step":
            kept = {k: v for k, v in data["metrics"].items() if k in CURVE_METRICS}
            data["metrics"] = {k: float(f"{v:.5g}") for k, v in kept.items() if v is not None}
        if data["type"] == "eval":
            data["score"].pop("perQuestion", None)
        data["time"] = round(data["time"] % 10_000, 1)
        lines.append(json.dumps(data, separators=(",", ":")))
    return lines


def main(names: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="histories-"))
    try:
        for case in CASES:
            if names and case.name not in names:
                continue
            started = time.monotonic()
            lines = record(case, root)
            (FOLDER / f"{case.name}.jsonl").write_text("\n".join(lines) + "\n")
            seconds = time.monotonic() - started
            print(f"{case.name}: {len(lines)} records, {seconds:.0f} s", file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
