"""Device slots: one GPU a stage, or a share of the cores."""

import os
from pathlib import Path

import pytest

from llmzero.local.devices import slots


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake nvidia-smi that answers with three GPUs."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\nprintf '0\\n1\\n2\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return fake


def test_each_stage_gets_a_gpu_of_its_own(nvidia_smi: Path) -> None:
    found = slots(2)
    assert [dict(s.environment)["CUDA_VISIBLE_DEVICES"] for s in found] == ["0", "1"]
    assert not any(s.cpu for s in found)


def test_no_more_stages_than_gpus_run_at_once(nvidia_smi: Path) -> None:
    assert len(slots(8)) == 3


def test_gpus_that_were_hidden_from_us_stay_hidden(
    nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5b3c")
    assert [s.name for s in slots(4)] == ["cuda:2", "cuda:GPU-5b3c"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_without_gpus_the_stages_share_the_cores(
    hidden: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    found = [dict(s.environment) for s in slots(3)]
    assert [s["OMP_NUM_THREADS"] for s in found] == ["2", "2", "2"]
    assert all(s["CUDA_VISIBLE_DEVICES"] == "" for s in found)


def test_a_broken_nvidia_smi_means_no_gpu(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 'driver mismatch' >&2; exit 9\n")
    assert all(s.cpu for s in slots(2))


def test_threads_that_the_user_set_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert dict(slots(2)[0].environment)["OMP_NUM_THREADS"] == "3"
