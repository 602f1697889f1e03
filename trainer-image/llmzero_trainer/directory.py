"""The stage's directory: who may publish, what is whole, what was said before.

    <root>/<search uid>/<node>/
        request.json                the request that the directory belongs to
        fence                       number of the attempt that may publish
        records.jsonl               every record of every attempt
        checkpoint-<step>/          whole, for children and for this stage's own resumption
        resume-<step>/              whole, saved on SIGTERM, for this stage alone
        reference/                  weights of the KL reference (reference.json says which)
        questions-<split>-<step>.jsonl
        result.json                 the result record, once the stage is over for good
        .work-<attempt>/            what is not whole yet

Files and checkpoints become visible by rename, after fsync, or not at all.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmzero.api.contract import ExitCode, Record, ResultRecord, StageRequest, parse_record
from llmzero_trainer.errors import fenced, from_os_error, invalid, storage

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CHECKPOINT = re.compile(r"checkpoint-([0-9]+)")
_WHOLE = re.compile(r"(?:checkpoint|resume)-([0-9]+)")
FINAL = frozenset({ExitCode.DONE, ExitCode.DIVERGED})
"""Ends that the same request reaches again: a new attempt repeats the result, not the work."""


class StageDirectory:
    """One stage's directory, as one attempt sees it."""

    def __init__(self, path: Path, attempt: int) -> None:
        self.path = path
        self.attempt = attempt

    @classmethod
    def of(cls, root: Path, request: StageRequest, attempt: int) -> "StageDirectory":
        return cls(stage_path(root, request.search_uid, request.node), attempt)

    @property
    def work(self) -> Path:
        """Where this attempt writes what is not whole yet."""
        return self.path / f".work-{self.attempt}"

    def open(self, request: StageRequest) -> None:
        """Make or adopt the directory and take the fence.

        Raises StageError: Storage where it cannot be written, InvalidRequest where it belongs to
        another request, Fenced where a later attempt holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._own(request)
            held = self._fence()
            if held > self.attempt:
                raise fenced(f"{self.path}: attempt {held} may publish, this is {self.attempt}")
            if held < self.attempt:
                write_whole(self.path / "fence", f"{self.attempt}\n")
            self._sweep()
        except OSError as error:
            raise from_os_error(error, self.path) or storage(f"{self.path}: {error}") from error

    def _own(self, request: StageRequest) -> None:
        file = self.path / "request.json"
        if not file.exists():
            write_whole(file, request.model_dump_json(by_alias=True, exclude_none=True) + "\n")
            return
        try:
            found = StageRequest.model_validate_json(file.read_bytes()).digest()
        except ValueError as error:
            raise invalid(f"{file}: not a stage request: {error}") from error
        if found != request.digest():
            raise invalid(
                f"{self.path}: belongs to the request {found[:12]}, asked is "
                f"{request.digest()[:12]}: remove the directory or use another node name"
            )

    def _fence(self) -> int:
        try:
            return int((self.path / "fence").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _sweep(self) -> None:
        """Remove what earlier attempts left half done, and our own from before a restart."""
        for entry in self.path.glob(".work-*"):
            number = entry.name.removeprefix(".work-")
            if number.isdigit() and int(number) <= self.attempt:
                shutil.rmtree(entry, ignore_errors=True)
        for entry in [*self.path.glob(".gone-*"), *self.path.glob(".new-*")]:
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove what this attempt left half done."""
        shutil.rmtree(self.work, ignore_errors=True)

    def check_fence(self) -> None:
        """Raises StageError (Fenced) where another attempt may publish."""
        held = self._fence()
        if held != self.attempt:
            raise fenced(f"{self.path}: attempt {held} may publish, this is {self.attempt}")

    def checkpoints(self) -> list[int]:
        """Steps of the whole checkpoints, ascending."""
        found = (_CHECKPOINT.fullmatch(e.name) for e in self.path.iterdir() if e.is_dir())
        return sorted(int(m[1]) for m in found if m)

    def checkpoint(self, step: int) -> Path:
        return self.path / f"checkpoint-{step}"

    def last_whole(self) -> tuple[int, Path] | None:
        """The furthest whole checkpoint, the ones saved on SIGTERM included."""
        found = [
            (int(m[1]), e)
            for e in self.path.iterdir()
            if e.is_dir() and (m := _WHOLE.fullmatch(e.name))
        ]
        return max(found, default=None, key=lambda pair: (pair[0], pair[1].name < "d"))

    def publish(self, made: Path, name: str) -> Path:
        """Make a directory visible under ``name``, behind the fence."""
        sync_tree(made)
        self.check_fence()
        target = self.path / name
        if target.exists():
            remove(target)
        os.rename(made, target)
        sync_directory(self.path)
        return target

    def promote_resume_point(self, step: int) -> Path:
        """A checkpoint that was due when SIGTERM came becomes a regular one."""
        self.check_fence()
        os.rename(self.path / f"resume-{step}", self.checkpoint(step))
        sync_directory(self.path)
        return self.checkpoint(step)

    def drop_resume_points(self, before: int) -> None:
        """Remove what SIGTERM saved, once a regular checkpoint went past it."""
        for entry in self.path.glob("resume-*"):
            match = _WHOLE.fullmatch(entry.name)
            if match and int(match[1]) <= before:
                remove(entry)

    def prune(self, keep: set[int]) -> list[int]:
        """Remove the checkpoints that ``keep`` does not name; returns their steps."""
        dropped = [step for step in self.checkpoints() if step not in keep]
        for step in dropped:
            remove(self.checkpoint(step))
        return dropped

    def lines(self) -> Iterator[tuple[str, Record]]:
        """The stored records and the lines they were read from; torn lines are passed over."""
        file = self.path / "records.jsonl"
        if not file.exists():
            return
        with file.open("rb") as stream:
            for raw in stream:
                try:
                    yield raw.decode().rstrip("\n"), parse_record(raw)
                except ValueError:
                    continue  # a line cut off by a kill or a full disk

    def final_result(self) -> ResultRecord | None:
        """The result of a stage that is over for good."""
        file = self.path / "result.json"
        try:
            result = ResultRecord.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise storage(f"{file}: damaged: {error}") from error
        return result if result.exit_code in FINAL else None


def stage_path(root: Path, search_uid: str, node: str) -> Path:
    """``root/uid/node``. Raises StageError for names that would leave the root."""
    for field, value in (("searchUid", search_uid), ("node", node)):
        if not _SAFE.fullmatch(value):
            raise invalid(f"{field}: found {value!r}, allowed are letters, digits, '.', '_', '-'")
    return root / search_uid / node


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all. Raises OSError."""
    made = path.with_name(f".new-{os.getpid()}-{path.name}")
    with made.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.rename(made, path)
    sync_directory(path.parent)


def write_json(path: Path, data: object) -> None:
    """:func:`write_whole` of JSON with a line end."""
    write_whole(path, json.dumps(data, ensure_ascii=False) + "\n")


def remove(path: Path) -> None:
    """Remove a directory so that it never stands there in part under its name."""
    gone = path.with_name(f".gone-{os.getpid()}-{path.name}")
    os.rename(path, gone)
    shutil.rmtree(gone, ignore_errors=True)


def sync_tree(path: Path) -> None:
    for folder, _, files in os.walk(path):
        for name in files:
            with open(os.path.join(folder, name), "rb") as stream:
                os.fsync(stream.fileno())
        sync_directory(Path(folder))


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def tree_bytes(path: Path) -> int:
    """Bytes of all files below ``path``."""
    return sum(e.stat().st_size for e in path.rglob("*") if e.is_file())
