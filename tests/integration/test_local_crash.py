"""kill -9 of the runner or of a stage at any moment: nothing is lost, nothing finished runs twice.

The stages are fakes (tests/fakes), so that every place can be killed in seconds; test_local_search
does it with the real trainer.
"""

import random
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmzero import strategies
from llmzero.api.stage import Purpose, StageStatus
from llmzero.search.decisions import Create, Expand
from tests.fakes.harness import ROOT, FakeRun, manifest

FAILPOINTS = [
    *(f"before-rename:{n}" for n in (1, 2, 4, 9, 22, 35)),
    *(f"after-rename:{n}" for n in (1, 3, 5, 13, 40)),
    *(f"before-decision:{n}" for n in (1, 2, 7)),
    *(f"after-decision:{n}" for n in (1, 4)),
    *(f"before-launch:{n}" for n in (1, 3)),
    *(f"started:{n}" for n in (1, 4)),
    *(f"after-launch:{n}" for n in (1, 2)),
    *(f"before-completion:{n}" for n in (1, 2, 5)),
    *(f"after-completion:{n}" for n in (1, 3, 5)),
    "before-prune:1",
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = FakeRun(tmp_path_factory.mktemp("undisturbed"), manifest())
    code, _, said = run.finish()
    assert code == 0, said
    return run.tree()


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_a_runner_killed_between_two_writes_goes_on_to_the_same_tree(
    failpoint: str, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = FakeRun(tmp_path, manifest())
    code, _, _ = run.finish(LLMZERO_FAILPOINT=failpoint)
    assert code == -signal.SIGKILL, "the failpoint was never passed"
    before = run.ended()
    code, _, said = run.finish()
    assert code == 0, said
    assert run.tree() == undisturbed
    assert run.untouched_since(before)
    assert not run.processes()


@pytest.mark.parametrize("seed", range(3))
def test_five_kills_at_random_with_one_stage_at_a_time_end_in_the_same_tree(
    seed: int, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"seconds": 0.05})
    draw = random.Random(seed)
    _disturb(run, draw, 5)
    code, _, said = run.finish()
    assert code == 0, said
    assert run.tree() == undisturbed


@pytest.mark.parametrize("seed", range(2))
def test_with_two_at_a_time_the_tree_follows_from_the_recorded_order(
    seed: int, tmp_path: Path
) -> None:
    run = FakeRun(tmp_path, manifest({"parallelism": 2}, budget={"stages": 6, "attempts": 10}))
    run.faults({"seconds": 0.05})
    _disturb(run, random.Random(100 + seed), 5)
    code, _, said = run.finish()
    assert code == 0, said
    found = run.read()
    assert replayed(run) == {
        n.name: n.spec for n in found.nodes.values() if n.spec.purpose is Purpose.TRAIN
    }
    sequences = sorted(n.status.sequence or 0 for n in found.nodes.values())
    assert sequences == list(range(len(found.nodes)))


def replayed(run: FakeRun) -> dict[str, Any]:
    """The stages that the plan creates if the recorded completions come in the recorded order."""
    found = run.read()
    search = found.search.with_(status=type(found.search.status)())
    nodes: dict[str, Any] = {}
    waiting = run.order()
    while True:
        plan = strategies.plan(search, list(nodes.values()), datetime.now(UTC))
        for decision in plan.decisions:
            if isinstance(decision, Create):
                nodes.setdefault(decision.node.name, decision.node)
            elif isinstance(decision, Expand):
                node = nodes[decision.node]
                nodes[node.name] = node.with_(
                    status=node.status.with_(expansion=decision.expansion)
                )
        if not waiting:
            return {
                name: node.spec
                for name, node in nodes.items()
                if node.spec.purpose is Purpose.TRAIN
            }
        name = waiting.pop(0)
        end: StageStatus = found.nodes[name].status
        every, steps = search.spec.stage.checkpoint_every, nodes[name].spec.steps
        nodes[name] = nodes[name].with_(
            status=end.with_(
                expansion=nodes[name].status.expansion,
                # As they were when it ended; retention has deleted some since.
                checkpoints=sorted({*range(every, steps + 1, every), steps}) if steps else [],
            )
        )


def _disturb(run: FakeRun, draw: random.Random, times: int) -> None:
    """SIGKILL to the runner, to a stage, or to both, at random moments."""
    for _ in range(times):
        process = run.start()
        time.sleep(draw.uniform(0.8, 2.2))
        what = draw.choice(("runner", "stage", "both"))
        before = run.ended()
        if what in ("runner", "both"):
            process.kill()
        if what in ("stage", "both"):
            run.kill_stages()
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.communicate()
        assert run.untouched_since(before)


def test_a_living_stage_is_adopted_not_started_again(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"seconds": 0.3})
    process = run.start()
    pids = _wait_for(run.processes)
    process.kill()
    process.communicate()
    assert run.processes() == pids
    run.faults({})
    code, out, _ = run.finish()
    assert code == 0
    assert "started 0 " not in out
    assert "ended 0 Succeeded" in out
    node = next(n for n in run.read().nodes.values() if n.spec.path == "0")
    assert node.status.attempt_count == 1


def test_a_second_runner_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"seconds": 0.3})
    first = run.start()
    _wait_for(run.processes)
    code, _, said = run.finish()
    assert code == 1
    assert f"process {first.pid}" in said
    assert "--dir" in said
    first.terminate()
    assert first.wait(60) == 130
    first.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_cleanly_and_the_run_goes_on_later(
    number: signal.Signals, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"seconds": 0.2})
    process = run.start()
    _wait_for(run.processes)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not run.processes()
    run.faults({})
    code, _, said = run.finish()
    assert code == 0, said
    assert run.tree() == undisturbed


def test_a_second_signal_kills_a_stage_that_does_not_leave(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"*": [{"kind": "hang", "step": 2}]})
    process = run.start()
    _wait_for(run.processes)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "it waits for the stage"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    _wait_for(lambda: not run.processes())


def test_a_full_disk_is_named_and_the_run_goes_on_after_the_mend(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = FakeRun(tmp_path, manifest())
    process = subprocess.run(
        [
            "bash",
            "-c",
            # No file may grow beyond 4 KiB: writes fail as on a full disk.
            f"ulimit -f 4; exec {' '.join(map(str, run.command()))}",
        ],
        env=run.environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert "cannot be written: File too large" in process.stderr
    assert str(run.path) in process.stderr
    assert "Traceback" not in process.stderr
    code, _, said = run.finish()
    assert code == 0, said
    assert run.tree() == undisturbed


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, manifest())
    run.path.write_text("a file stands where the directory should")
    code, _, said = run.finish()
    assert code == 1
    assert str(run.path) in said
    assert "Traceback" not in said


def test_a_stage_without_room_ends_the_run_and_goes_on_later(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    run = FakeRun(tmp_path, manifest())
    run.faults({"0-0": [{"kind": "exit", "code": 67, "step": 3}]})
    code, _, said = run.finish()
    assert code == 1
    assert "fake fault at step 3" in said
    run.faults({})
    code, _, said = run.finish()
    assert code == 0, said
    assert run.tree() == undisturbed


def _wait_for(condition: Any, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")
