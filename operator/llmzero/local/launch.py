"""Starting a stage's process and knowing when and how it ended."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmzero.api.contract import (
    ATTEMPT_ENV,
    REQUEST_ENV,
    REQUEST_HASH_ENV,
    ROOT_ENV,
    StageRequest,
)
from llmzero.local.devices import Slot
from llmzero.local.errors import RunError
from llmzero.local.process import Identity, log_file, start_ticks


@dataclass(frozen=True, slots=True)
class Ended:
    """``code`` is None where nobody could tell: the stored result record decides then."""

    code: int | None


class Handle(Protocol):
    """A stage's process."""

    @property
    def identity(self) -> Identity: ...

    def poll(self) -> Ended | None: ...


class Launcher(Protocol):
    """Starts stages. ``close`` leaves no process of the launcher's own behind."""

    def ready(self) -> bool:
        """Whether ``start`` would start at once. Raises RunError where it never will."""
        ...

    def start(self, request: StageRequest, attempt: int, slot: Slot, folder: Path) -> Handle: ...

    def close(self) -> None: ...


def environment(root: Path, request: StageRequest, attempt: int, slot: Slot) -> dict[str, str]:
    """What the trainer reads: the stage contract, the device slot, no telemetry."""
    return {
        **os.environ,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **dict(slot.environment),
        REQUEST_ENV: request.encode(),
        REQUEST_HASH_ENV: request.digest(),
        ROOT_ENV: str(root.resolve()),
        ATTEMPT_ENV: str(attempt),
    }


class FreshProcess:
    """A new Python for each stage: always right, 8 to 18 s of imports each time."""

    def __init__(self, root: Path, module: str = "llmzero_trainer") -> None:
        self._root = root
        self._module = module

    def ready(self) -> bool:
        return True

    def start(self, request: StageRequest, attempt: int, slot: Slot, folder: Path) -> Handle:
        try:
            with log_file(folder, attempt).open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", self._module],
                    env=environment(self._root, request, attempt, slot),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # the same records are in records.jsonl
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise RunError(f"the trainer cannot be started: {error}") from error
        identity = Identity(attempt, process.pid, start_ticks(process.pid) or 0, slot.name)
        return _Child(process, identity)

    def close(self) -> None:
        return None


@dataclass(slots=True)
class _Child:
    process: "subprocess.Popen[bytes]"
    identity: Identity

    def poll(self) -> Ended | None:
        code = self.process.poll()
        return None if code is None else Ended(code)


@dataclass(frozen=True, slots=True)
class Adopted:
    """A process that an earlier runner started; only its stored result tells how it ended."""

    identity: Identity

    def poll(self) -> Ended | None:
        return None if self.identity.alive else Ended(None)
