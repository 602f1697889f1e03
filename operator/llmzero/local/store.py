"""The run directory: the same objects as on a cluster, one file each.

<dir>/search.json           the TrainingSearch
<dir>/nodes/<name>.json     the StageNodes
<dir>/stages/<uid>/<name>/  what the trainers write
<dir>/lock                  held by the one runner
"""

import contextlib
import fcntl
import getpass
import json
import os
import shutil
import socket
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from pydantic import ValidationError

from llmzero.api.base import API_VERSION, ObjectMeta
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import StageNode, StageStatus
from llmzero.local.errors import RunError, UsageError
from llmzero.local.files import make_folder, sweep, write_whole
from llmzero.local.process import recall

T = TypeVar("T", TrainingSearch, StageNode)
MUTABLE = ("agent", "approval", "budget", "suspend", "suspendPolicy")
MUTABLE_WITHIN = (("strategy", "parallelism"), ("trainer", "resources"))
"""Fields of the spec that may change between two runs on one directory."""
LOCK_TRIES = 4
LOCK_PAUSE_SECONDS = 0.03


class RunDirectory:
    """Reads and writes the objects of one run. Open it with :func:`open_run` or :func:`read_run`."""

    def __init__(self, path: Path, search: TrainingSearch, nodes: dict[str, StageNode]) -> None:
        self.path = path
        self.search = search
        self.nodes = nodes
        self._lock: IO[str] | None = None

    @property
    def stages(self) -> Path:
        """Root of the trainers' directories (LLMZERO_ROOT)."""
        return self.path / "stages"

    def stage(self, node: str) -> Path:
        return self.stages / self.search.metadata.uid / node

    @property
    def next_sequence(self) -> int:
        """The next place in the search's order of completions."""
        taken = [n.status.sequence for n in self.nodes.values() if n.status.sequence is not None]
        return max(taken, default=-1) + 1

    def save_search(self, status: SearchStatus) -> None:
        """The search with a new status; written only where something changed."""
        if status == self.search.status:
            return
        self.search = self.search.with_(status=status, metadata=_next_version(self.search.metadata))
        write_whole(self.path / "search.json", _text(self.search.dump()))

    def save_status(self, name: str, status: StageStatus) -> None:
        """A stage with a new status. Raises KeyError for an unknown stage, RunError."""
        node = self.nodes[name]
        self.put(node.with_(status=status, metadata=_next_version(node.metadata)))

    def put(self, node: StageNode) -> None:
        write_whole(self.path / "nodes" / f"{node.name}.json", _text(node.dump()))
        self.nodes[node.name] = node

    def create(self, node: StageNode, now: datetime) -> None:
        """A new stage; that it exists already means it is done."""
        if node.name in self.nodes:
            return
        metadata = node.metadata.model_copy(
            update={
                "uid": str(uuid.uuid4()),
                "creation_timestamp": now.replace(microsecond=0),
                "resource_version": "1",
            }
        )
        self.put(node.with_(metadata=metadata))

    def lock(self) -> Self:
        """Become the one runner of this directory. Raises RunError naming who is it already."""
        try:
            stream = (self.path / "lock").open("a+")
        except OSError as error:
            raise RunError(f"{self.path / 'lock'}: cannot be opened: {error.strerror}") from error
        try:
            _acquire(stream, fcntl.LOCK_EX)
        except OSError:
            stream.seek(0)
            owner = stream.read().strip() or "unknown to us"
            stream.close()
            raise RunError(
                f"{self.path}: another runner works on this directory ({owner}); wait for it, stop "
                "it, or choose another --dir"
            ) from None
        self._lock = stream
        with contextlib.suppress(OSError):  # a full disk takes the name, not the lock
            stream.truncate(0)
            stream.write(f"process {os.getpid()} of {_user()} on {socket.gethostname()}\n")
            stream.flush()
        return self

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def worked_on(path: Path) -> bool:
    """Whether a runner holds the directory; True where nobody can tell."""
    try:
        with (path / "lock").open() as stream:
            _acquire(stream, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _acquire(stream: IO[str], mode: int) -> None:
    """Raises OSError. Tried again: who only looks (:func:`worked_on`) holds it for a moment, too."""
    for _ in range(LOCK_TRIES - 1):
        with contextlib.suppress(OSError):
            return fcntl.flock(stream, mode | fcntl.LOCK_NB)
        time.sleep(LOCK_PAUSE_SECONDS)
    fcntl.flock(stream, mode | fcntl.LOCK_NB)


def run_path(name: str) -> Path:
    """Where a search runs if nobody says otherwise."""
    return Path("runs") / name


def read_run(path: Path) -> RunDirectory:
    """An existing run, for reading. Raises UsageError where there is none, RunError if damaged."""
    file = path / "search.json"
    if not file.exists():
        raise UsageError(f"{path}: no run is here (there is no search.json)")
    search = _read(TrainingSearch, file)
    folder = path / "nodes"
    nodes = {}
    for entry in sorted(folder.glob("*.json")) if folder.exists() else []:
        node = _read(StageNode, entry)
        nodes[node.name] = node
    return RunDirectory(path, search, nodes)


def open_run(path: Path, manifest: TrainingSearch, now: datetime) -> RunDirectory:
    """Make a run, or go on with it; the lock is held on return.

    A manifest that differs in more than the mutable fields is refused (UsageError): its stages
    would not belong to it, unless nothing was trained yet. A changed mutable field raises
    ``metadata.generation``.
    """
    make_folder(path / "nodes")
    run = RunDirectory(path, manifest, {}).lock()
    try:
        for folder in (path, path / "nodes"):
            sweep(folder)
        if (path / "search.json").exists():
            found = read_run(path)
            run.search, run.nodes = found.search, found.nodes
            _take_over(run, manifest, now)
        else:
            _begin(run, manifest, now)
    except BaseException:
        run.unlock()
        raise
    return run


def _begin(run: RunDirectory, manifest: TrainingSearch, now: datetime) -> None:
    metadata = manifest.metadata.model_copy(
        update={
            "uid": search_uid(manifest),
            "generation": 1,
            "resource_version": "1",
            "creation_timestamp": now.replace(microsecond=0),
        }
    )
    run.search = manifest.with_(metadata=metadata)
    write_whole(run.path / "search.json", _text(run.search.dump()))


def search_uid(manifest: TrainingSearch) -> str:
    """A function of the name and of all that may not change.

    Names of stages and some seeds depend on the UID: so the same manifest grows the same tree in
    every directory, given the same results in the same order.
    """
    frozen = json.dumps(_immutable(manifest.spec.dump()), sort_keys=True)
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{API_VERSION}/{manifest.name}/{frozen}"))


def _is_untouched(run: RunDirectory) -> bool:
    """Nothing was trained yet and no stage lives: the manifest had a mistake in it."""
    return not any(
        node.status.sequence is not None
        or recall(run.stage(node.name), node.status.attempt_count).alive
        or any(run.stage(node.name).glob("checkpoint-*"))
        for node in run.nodes.values()
    )


def _begin_anew(run: RunDirectory, manifest: TrainingSearch, now: datetime) -> None:
    old = run.stages / run.search.metadata.uid
    for name in run.nodes:
        (run.path / "nodes" / f"{name}.json").unlink(missing_ok=True)
    run.nodes = {}
    _begin(run, manifest, now)
    shutil.rmtree(old, ignore_errors=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}"


def _take_over(run: RunDirectory, manifest: TrainingSearch, now: datetime) -> None:
    """Mutable fields of the manifest; anything else that differs is refused once work was done."""
    old, new = run.search.spec.dump(), manifest.spec.dump()
    if old == new and run.search.name == manifest.name:
        return
    frozen = sorted(_differences(_immutable(old), _immutable(new)))
    if run.search.name != manifest.name:
        frozen.insert(0, "metadata.name")
    if frozen and _is_untouched(run):
        _begin_anew(run, manifest, now)
        return
    if frozen:
        may = [*MUTABLE, *(".".join(field) for field in MUTABLE_WITHIN)]
        raise UsageError(
            f"{run.path}: this directory holds another search: {', '.join(frozen)} "
            f"{'differs' if len(frozen) == 1 else 'differ'} from what it was started with. Only "
            f"{', '.join(may)} may change; choose another directory (--dir; --to of retrain)"
        )
    spent, budget = run.search.status.ledger.stages_spent, manifest.spec.budget
    if budget.stages < spent and budget.stages < run.search.spec.budget.stages:
        raise UsageError(
            f"spec.budget.stages: found {budget.stages:g}, at least {spent:.10g} are needed: so many are "
            "spent. To end the search, suspend it"
        )
    metadata = _next_version(run.search.metadata)
    run.search = run.search.with_(
        spec=manifest.spec,
        metadata=metadata.model_copy(update={"generation": metadata.generation + 1}),
    )
    write_whole(run.path / "search.json", _text(run.search.dump()))


def _immutable(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in spec.items() if k not in MUTABLE}
    for section, field in MUTABLE_WITHIN:
        kept[section] = {k: v for k, v in spec[section].items() if k != field}
    return kept


def _differences(old: Any, new: Any, path: str = "spec") -> set[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return {
            found
            for key in {*old, *new}
            for found in _differences(old.get(key), new.get(key), f"{path}.{key}")
        }
    return set() if old == new else {path}


def _next_version(metadata: ObjectMeta) -> ObjectMeta:
    version = str(int(metadata.resource_version or "0") + 1)
    return metadata.model_copy(update={"resource_version": version})


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def _read(kind: type[T], file: Path) -> T:
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise RunError(f"{file}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RunError(f"{file}: damaged: {first['loc']}: {first['msg']}") from error
