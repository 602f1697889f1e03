"""The run directory: the same objects as on a cluster, whole after a kill at any write."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import Phase, StageNode
from llmzero.local import files
from llmzero.local.errors import RunError, UsageError
from llmzero.local.store import RunDirectory, open_run, read_run
from tests.unit.builders import manifest, stage

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def search(**spec: Any) -> TrainingSearch:
    return TrainingSearch.model_validate(manifest(**spec))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    made = open_run(tmp_path / "run", search(), NOW)
    yield made
    made.unlock()


def reopen(run: RunDirectory, changed: TrainingSearch) -> RunDirectory:
    run.unlock()
    return open_run(run.path, changed, NOW)


def test_metadata_is_filled_as_on_a_cluster(run: RunDirectory) -> None:
    written = json.loads((run.path / "search.json").read_text())["metadata"]
    assert written["creationTimestamp"] == "2026-03-04T05:06:07Z"
    assert written["generation"] == 1
    assert written["uid"]
    run.create(stage("0"), NOW)
    run.save_status("test-0", run.nodes["test-0"].status.with_(step=3))
    node = json.loads((run.path / "nodes" / "test-0.json").read_text())
    assert node["metadata"]["resourceVersion"] == "2"
    assert node["metadata"]["uid"]
    assert node["status"]["step"] == 3
    assert read_run(run.path).nodes == run.nodes


def test_creating_twice_is_creating_once(run: RunDirectory) -> None:
    run.create(stage("0"), NOW)
    first = run.nodes["test-0"]
    run.create(stage("0"), NOW)
    assert run.nodes["test-0"] is first


def test_an_unchanged_status_of_the_search_is_not_written(run: RunDirectory) -> None:
    run.save_search(SearchStatus(phase="Running"))
    version = run.search.metadata.resource_version
    run.save_search(SearchStatus(phase="Running"))
    assert run.search.metadata.resource_version == version


def test_the_same_manifest_has_the_same_uid_anywhere(tmp_path: Path) -> None:
    uids = []
    for place, strategy in enumerate(({"seed": 1}, {"seed": 1, "parallelism": 7}, {"seed": 2})):
        run = open_run(tmp_path / str(place), search(strategy=strategy), NOW)
        uids.append(run.search.metadata.uid)
        run.unlock()
    assert uids[0] == uids[1] != uids[2]


@pytest.mark.parametrize(
    "changed",
    [
        {"budget": {"stages": 99}},
        {"suspend": True},
        {"approval": "manual"},
        {"agent": {"endpoint": "default"}},
        {"strategy": {"parallelism": 5}},
        {"trainer": {"resources": {"limits": {"cpu": 2}}}},
    ],
)
def test_a_mutable_field_is_taken_over(run: RunDirectory, changed: dict[str, Any]) -> None:
    finish_one(run)
    again = reopen(run, search(**changed))
    assert again.search.metadata.generation == 2
    assert again.search.metadata.uid == run.search.metadata.uid
    assert again.search.spec == search(**changed).spec
    assert read_run(run.path).search == again.search
    again.unlock()


def finish_one(run: RunDirectory) -> None:
    run.create(stage("0"), NOW)
    status = run.nodes["test-0"].status
    run.save_status("test-0", status.with_(phase=Phase.SUCCEEDED, sequence=0))


def test_another_search_is_refused_with_the_fields_that_differ(run: RunDirectory) -> None:
    finish_one(run)
    other = search(strategy={"seed": 5}, stage={"steps": 50})
    with pytest.raises(UsageError, match=r"spec\.stage\.evalEvery.*spec\.strategy\.seed.*--dir"):
        reopen(run, other)
    again = reopen(run, search())  # the lock is free again, the directory as it was
    assert again.nodes.keys() == {"test-0"}
    again.unlock()


def test_another_name_is_refused(run: RunDirectory) -> None:
    finish_one(run)
    other = manifest()
    other["metadata"]["name"] = "another"
    with pytest.raises(UsageError, match=r"metadata\.name"):
        reopen(run, TrainingSearch.model_validate(other))


def test_a_mistake_may_be_mended_while_nothing_was_trained(run: RunDirectory) -> None:
    run.create(stage("0"), NOW)
    folder = run.stage("test-0")
    folder.mkdir(parents=True)
    again = reopen(run, search(model={"path": "/models/other"}))
    assert again.nodes == {}
    assert again.search.spec.model.path == "/models/other"
    assert not folder.exists()
    again.unlock()


def test_a_checkpoint_is_work_that_is_not_thrown_away(run: RunDirectory) -> None:
    run.create(stage("0"), NOW)
    (run.stage("test-0") / "checkpoint-20").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"spec\.model"):
        reopen(run, search(model={"path": "/models/other"}))


def test_a_second_runner_is_refused(run: RunDirectory) -> None:
    with pytest.raises(RunError, match=r"another runner.*process \d+"):
        open_run(run.path, search(), NOW)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"apiVersion": "v1"}'])
def test_a_damaged_file_is_named(run: RunDirectory, content: bytes) -> None:
    run.create(stage("0"), NOW)
    file = run.path / "nodes" / "test-0.json"
    file.write_bytes(content)
    with pytest.raises(RunError, match=str(file)):
        read_run(run.path)


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run is here"):
        read_run(tmp_path)


class Killed(BaseException):
    """As if the process had been killed at this point."""


@contextmanager
def killed_at(number: int) -> Iterator[None]:
    """Ends the process, in effect, at the ``number``-th place between two steps of a write."""
    left = number
    real = files.failpoint

    def fail(name: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    files.failpoint = fail
    try:
        yield
    except Killed:
        pass
    finally:
        files.failpoint = real


Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "status", "search"]), st.integers(0, 4), st.integers(0, 9)
    ),
    min_size=1,
    max_size=12,
)


def carry_out(run: RunDirectory, step: Step) -> None:
    kind, which, value = step
    node: StageNode = stage(str(which))
    if kind == "search":
        run.save_search(run.search.status.with_(message=str(value)))
    elif kind == "create" or node.name not in run.nodes:
        run.create(node, NOW)
    else:
        run.save_status(node.name, run.nodes[node.name].status.with_(step=value))


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 30), st.binary(max_size=40))
def test_after_a_kill_every_object_is_as_before_or_after_the_write(
    steps: list[Step], kill: int, torn: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(Path(folder) / "run", search(), NOW)
        before = read_run(run.path)
        with killed_at(kill):
            for step in steps:
                before = read_run(run.path)
                carry_out(run, step)
        leftover = run.path / "nodes" / ".test-1.json.4711"
        leftover.write_bytes(torn)  # what a kill in the middle of a write leaves
        again = reopen(run, search())
        assert again.search.spec == before.search.spec
        assert again.search in (before.search, run.search) or _only_newer(again, before)
        names = set(before.nodes) | set(again.nodes)
        changed = [n for n in names if again.nodes.get(n) != before.nodes.get(n)]
        assert len(changed) <= 1, "one write changes one object"
        assert not leftover.exists()
        again.unlock()


def _only_newer(again: RunDirectory, before: RunDirectory) -> bool:
    new, old = again.search.metadata, before.search.metadata
    return int(new.resource_version or 0) == int(old.resource_version or 0) + 1
