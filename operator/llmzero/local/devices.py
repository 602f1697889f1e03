"""Device slots: a GPU each, or one share of the CPU per parallel stage. Never imports torch."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one stage runs. Without its own slot TRL would take every GPU."""

    name: str
    environment: tuple[tuple[str, str], ...]

    @property
    def cpu(self) -> bool:
        return self.name.startswith("cpu")


def gpus() -> list[str]:
    """Indices of the GPUs that this process may use; empty where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [v for v in visible.split(",") if v.strip() and v.strip() != "-1"]
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in found.stdout.splitlines() if line.strip()]


def slots(parallelism: int) -> list[Slot]:
    """One slot a GPU where there are GPUs (at most ``parallelism``), else CPU slots.

    CPU slots share the cores evenly: OMP_NUM_THREADS is set unless the user did.
    """
    found = gpus()
    if found:
        return [
            Slot(f"cuda:{i}", (("CUDA_VISIBLE_DEVICES", i),)) for i in found[: max(parallelism, 1)]
        ]
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(cores // parallelism, 1))
    return [
        Slot(f"cpu:{i}", (("CUDA_VISIBLE_DEVICES", ""), ("OMP_NUM_THREADS", threads)))
        for i in range(parallelism)
    ]
