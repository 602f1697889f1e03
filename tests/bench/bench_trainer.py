"""Step time of a stage against the same GRPOConfig in a bare TRL script.

``python tests/bench/bench_trainer.py`` writes ``benchmarks/trainer.json``. Stage and bare script
take short turns in one process, so that a busy neighbour slows both. A step is the time from one
log to the next, the first of each turn left out. ``ratio`` compares medians of the wall clock,
``cpu_ratio`` those of the process's CPU seconds, which a neighbour does not touch. The stage
writes its records and looks at its fence within a step; evaluations and checkpoints, which the
bare script does not have, lie outside of the measured steps.
"""

import argparse
import io
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    ROOT_ENV,
    TERMINATION_ENV,
    StageRequest,
)
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Splits, Task

OUT = Path(__file__).parents[2] / "benchmarks" / "trainer.json"
EXPECTED = 1.01
PROMPTS = 8
GROUP = 8
GRPO: dict[str, Any] = {
    "learning_rate": 1e-4,
    "num_generations": GROUP,
    "max_completion_length": 12,
    "per_device_train_batch_size": 32,
    "lr_scheduler_type": "constant_with_warmup",
}


def request(node: str, steps: int, seed: int) -> StageRequest:
    return StageRequest(
        search_uid="bench",
        node=node,
        model=ModelSource(builtin="scratchpad-addition"),
        task=Task(
            name="scratchpad-addition",
            splits=Splits(train=4000, search=2, promote=2, held_out=2),
        ),
        objective_metric="eval/accuracy",
        grpo=GRPO,
        evaluation=Evaluation(max_completion_length=12),
        steps=steps,
        prompts_per_step=PROMPTS,
        eval_every=steps,
        checkpoint_every=steps,
        order_seed=0,
        data_offset=0,
        rollout_seed=seed,
    )


Clock = tuple[float, float]
"""Wall clock and CPU seconds of the process."""


def now() -> Clock:
    return time.perf_counter(), time.process_time()


def stage_steps(root: Path, number: int, steps: int) -> list[Clock]:
    """Wall and CPU seconds of each step of a stage."""
    from llmzero_trainer.__main__ import run_stage
    from llmzero_trainer.training import StageCallback

    os.environ[REQUEST_ENV] = request(f"round-{number}", steps, number).encode()
    os.environ[ROOT_ENV] = str(root)
    os.environ[ATTEMPT_ENV] = "1"
    os.environ[TERMINATION_ENV] = str(root / "termination")
    times: list[Clock] = []
    plain = StageCallback.on_log

    def on_log(self: Any, args: Any, state: Any, control: Any, logs: Any = None, **kw: Any) -> None:
        plain(self, args, state, control, logs, **kw)
        if "loss" in (logs or {}):
            times.append(now())

    out = io.StringIO()
    StageCallback.on_log = on_log  # type: ignore[method-assign]
    try:
        code = run_stage(out)
    finally:
        StageCallback.on_log = plain  # type: ignore[method-assign]
    if code != 0:
        raise SystemExit(f"the stage ended with {code}:\n{out.getvalue()[-2000:]}")
    return seconds(times)


def bare_steps(root: Path, number: int, steps: int) -> list[Clock]:
    """The same with GRPOTrainer alone, as a short script would use it."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from llmzero_trainer import data_order, tasks, tiny

    asked = request("bare", steps, number)
    train = tasks.load(asked.task).train
    order = data_order.order(0, len(train), 0, steps * PROMPTS)
    rows = [{"prompt": train[i].prompt, "answer": train[i].answer} for i in order]

    def reward(completions: list[str], answer: list[str], **_: Any) -> list[float]:
        pairs = zip(completions, answer, strict=True)
        return [float(c.rsplit(">", 1)[-1].strip() == a) for c, a in pairs]

    times: list[Clock] = []

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in (logs or {}):
                times.append(now())

    where = tiny.cached("scratchpad-addition")
    config = GRPOConfig(
        **GRPO,
        output_dir=str(root / "bare"),
        max_steps=steps,
        gradient_accumulation_steps=PROMPTS * GROUP // GRPO["per_device_train_batch_size"],
        seed=number,
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        shuffle_dataset=False,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(where, dtype=torch.float32),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(where, padding_side="left"),
        callbacks=[Watch()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return seconds(times)


def seconds(times: list[Clock]) -> list[Clock]:
    return [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(times)]


def measure(rounds: int, steps: int) -> dict[str, Any]:
    from llmzero_trainer.stage import quiet

    quiet()
    stage: list[Clock] = []
    bare: list[Clock] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bare_steps(root, 0, 5)  # both warm
        stage_steps(root, 0, 5)
        for number in range(1, rounds + 1):
            # ABBA: a machine that drifts slows both sides alike
            sides = [(stage_steps, stage), (bare_steps, bare)]
            for run, kept in sides if number % 2 else reversed(sides):
                kept += run(root, number, steps)
            print(
                f"round {number}: wall {ratio(stage, bare, 0)}, CPU {ratio(stage, bare, 1)}",
                file=sys.stderr,
            )
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return {
        "benchmark": "trainer",
        "command": "make bench-trainer",
        "what": "seconds of one optimizer step, stage against bare TRL, in turns",
        "ratio": ratio(stage, bare, 0),
        "cpu_ratio": ratio(stage, bare, 1),
        "expected_ratio_at_most": EXPECTED,
        "stage_seconds": summary([s[0] for s in stage]),
        "bare_seconds": summary([s[0] for s in bare]),
        "stage_cpu_seconds": summary([s[1] for s in stage]),
        "bare_cpu_seconds": summary([s[1] for s in bare]),
        "rounds": rounds,
        "steps_per_round": steps,
        "completions_per_step": PROMPTS * GROUP,
        "grpo": GRPO,
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def ratio(stage: list[Clock], bare: list[Clock], clock: int) -> float:
    """Median of the stage over median of the bare script, on one of the two clocks."""
    medians = [statistics.median(s[clock] for s in side) for side in (stage, bare)]
    return round(medians[0] / medians[1], 4)


def summary(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {
        "median": round(middle, 5),
        "quartile_1": round(low, 5),
        "quartile_3": round(high, 5),
        "steps": len(values),
    }


def machine() -> dict[str, Any]:
    import torch
    import transformers
    import trl

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": trl.__version__,
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    found = measure(given.rounds, given.steps)
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
