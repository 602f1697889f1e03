"""The run directory: the same objects as on a cluster, one file each.

<dir>/search.json           the TrainingSearch
<dir>/nodes/<name>.json     the StageNodes
<dir>/stages/<uid>/<name>/  what the trainers write
<dir>/lock                  held by the one runner
"""

import fcntl
import json
import os
import uuid
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self, TypeVar

from pydantic import ValidationError

from llmzero.api.base import ObjectMeta
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import StageNode, StageStatus
from llmzero.local.errors import RunError, UsageError
from llmzero.local.files import make_folder, write_whole

T = TypeVar("T", TrainingSearch, StageNode)
MUTABLE = ("budget", "suspend", "suspendPolicy", "approval", "agent")
"""Fields of the spec that may change between two runs on one directory (and parallelism)."""


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
        stream = (self.path / "lock").open("a+")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.seek(0)
            owner = stream.read().strip() or "unknown"
            stream.close()
            raise RunError(
                f"{self.path}: another runner works on this directory (process {owner}); stop it, "
                "or choose another --dir"
            ) from None
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        self._lock = stream
        return self

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


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
    would not belong to it. A changed mutable field raises ``metadata.generation``.
    """
    make_folder(path)
    make_folder(path / "nodes")
    probe = path / ".writable"
    write_whole(probe, "")
    probe.unlink(missing_ok=True)
    if not (path / "search.json").exists():
        metadata = manifest.metadata.model_copy(
            update={
                "uid": str(uuid.uuid4()),
                "generation": 1,
                "resource_version": "1",
                "creation_timestamp": now.replace(microsecond=0),
            }
        )
        run = RunDirectory(path, manifest.with_(metadata=metadata), {}).lock()
        write_whole(path / "search.json", _text(run.search.dump()))
        return run
    run = RunDirectory(path, _read(TrainingSearch, path / "search.json"), {}).lock()
    try:
        run = _with_lock(read_run(path), run)
        _take_over(run, manifest)
    except Exception:
        run.unlock()
        raise
    return run


def _with_lock(run: RunDirectory, holder: RunDirectory) -> RunDirectory:
    run._lock, holder._lock = holder._lock, None
    return run


def _take_over(run: RunDirectory, manifest: TrainingSearch) -> None:
    """Mutable fields of the manifest; anything else that differs is refused."""
    old, new = run.search.spec.dump(), manifest.spec.dump()
    if old == new:
        return
    frozen = sorted(_differences(_immutable(old), _immutable(new)))
    if run.search.name != manifest.name:
        frozen.insert(0, "metadata.name")
    if frozen:
        raise UsageError(
            f"{run.path}: this directory holds another search: {', '.join(frozen)} differ from "
            f"what it was started with. Only {', '.join(MUTABLE)} and strategy.parallelism may "
            "change; choose another --dir"
        )
    metadata = _next_version(run.search.metadata)
    run.search = run.search.with_(
        spec=manifest.spec,
        metadata=metadata.model_copy(update={"generation": metadata.generation + 1}),
    )
    write_whole(run.path / "search.json", _text(run.search.dump()))


def _immutable(spec: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in spec.items() if k not in MUTABLE}
    kept["strategy"] = {k: v for k, v in spec["strategy"].items() if k != "parallelism"}
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
