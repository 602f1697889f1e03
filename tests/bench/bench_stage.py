"""From the request to the first optimizer step: a forked stage against a fresh process.

``python tests/bench/bench_stage.py`` writes ``benchmarks/stage.json``. Both ways carry out the
same request (the tiny model, one step of 8 prompts x 8 completions) in turn, so that what else
the machine does hits both. *overhead* is the time from the request until the first step's record,
less the step itself, which is timed by a stage of several steps.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmzero.api.contract import Record, StageRequest
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Splits, Task
from llmzero.local.devices import Slot
from llmzero.local.forkserver import Forkserver
from llmzero.local.launch import FreshProcess, Launcher
from llmzero.local.records import RecordFile

OUT = Path(__file__).parents[2] / "benchmarks" / "stage.json"
UID = "bench"
STEPS = 5
"""The first is timed from the request, the rest tell what a step takes."""
SLOT = Slot("cpu:0", (("CUDA_VISIBLE_DEVICES", ""), ("OMP_NUM_THREADS", "1")))


def request(node: str) -> StageRequest:
    return StageRequest(
        search_uid=UID,
        node=node,
        model=ModelSource(builtin="scratchpad-addition"),
        task=Task(
            name="scratchpad-addition",
            splits=Splits(train=1000, search=10, promote=10, held_out=10),
        ),
        objective_metric="eval/accuracy",
        grpo={
            "learning_rate": 1e-4,
            "num_generations": 8,
            "max_completion_length": 12,
            "per_device_train_batch_size": 64,
            "lr_scheduler_type": "constant_with_warmup",
        },
        evaluation=Evaluation(max_completion_length=12),
        steps=STEPS,
        prompts_per_step=8,
        eval_every=STEPS,
        checkpoint_every=STEPS,
        order_seed=0,
        data_offset=0,
        rollout_seed=0,
    )


def first_step(launcher: Launcher, root: Path, node: str) -> tuple[float, float]:
    """Seconds from the request to the first step's record, and of one step."""
    folder = root / UID / node
    folder.mkdir(parents=True)
    asked = time.time()
    handle = launcher.start(request(node), 1, SLOT, folder)
    while (ended := handle.poll()) is None:
        time.sleep(0.005)
    records: list[Record] = RecordFile(folder).read()
    times = [r.time for r in records if r.type == "step"]
    if ended.code != 0 or len(times) != STEPS:
        raise RuntimeError(
            f"the stage ended with {ended.code}: {(folder / 'log-1.txt').read_text()}"
        )
    step = statistics.median(b - a for a, b in pairwise(times[:-1]))
    return times[0] - asked, step


def summary(firsts: list[float], steps: list[float]) -> dict[str, Any]:
    overheads = [first - step for first, step in zip(firsts, steps, strict=True)]
    return {
        "overheadSeconds": round(statistics.median(overheads), 3),
        "overheadMin": round(min(overheads), 3),
        "overheadMax": round(max(overheads), 3),
        "firstStepSeconds": round(statistics.median(firsts), 3),
        "stepSeconds": round(statistics.median(steps), 4),
        "samples": [round(o, 3) for o in overheads],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="llmzero-bench-") as folder:
        root = Path(folder)
        began = time.monotonic()
        ways: dict[str, Launcher] = {"forkserver": Forkserver(root), "fresh": FreshProcess(root)}
        while not ways["forkserver"].ready():
            time.sleep(0.05)
        ready = time.monotonic() - began
        first_step(ways["forkserver"], root, "warm-up")  # makes the model, warms caches
        first_step(ways["fresh"], root, "warm-up-fresh")
        firsts: dict[str, list[float]] = {way: [] for way in ways}
        steps: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(given.rounds):
            for way, launcher in ways.items():
                first, step = first_step(launcher, root, f"{way}-{number}")
                firsts[way].append(first)
                steps[way].append(step)
        for launcher in ways.values():
            launcher.close()
    results = {way: summary(firsts[way], steps[way]) for way in ways}
    ratio = results["fresh"]["overheadSeconds"] / results["forkserver"]["overheadSeconds"]
    report = {
        "command": f"python tests/bench/bench_stage.py --rounds {given.rounds}",
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "python": platform.python_version(),
            "system": platform.platform(),
            "loadBefore": round(load_before, 2),
            **{name: version(name) for name in ("torch", "transformers", "trl")},
        },
        "rounds": given.rounds,
        "serverReadySeconds": round(ready, 1),
        **results,
        "freshToForkserver": round(ratio, 1),
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
