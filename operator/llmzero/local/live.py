"""A stage whose process runs (or ran when the last runner was killed)."""

import time
from dataclasses import dataclass, field
from datetime import datetime

from llmzero.api.contract import ResultRecord
from llmzero.api.stage import StageNode
from llmzero.failpoints import failpoint
from llmzero.local.devices import Slot
from llmzero.local.files import make_folder
from llmzero.local.launch import Adopted, Handle, Launcher
from llmzero.local.process import recall, remember
from llmzero.local.records import RecordFile
from llmzero.local.store import RunDirectory
from llmzero.search.lifecycle import StageObserver
from llmzero.search.request import stage_request

SAVE_SECONDS = 2.0
"""A running stage's status is written at most so often; its records are on disk anyway."""


@dataclass
class LiveStage:
    """One stage, its process, and what was heard of it."""

    run: RunDirectory
    name: str
    attempt: int
    handle: Handle
    slot: Slot | None = None
    told_at: float | None = None
    _observer: StageObserver = field(default_factory=StageObserver)
    _records: RecordFile | None = None
    _saved: float = 0.0

    @classmethod
    def launch(
        cls, run: RunDirectory, launcher: Launcher, node: StageNode, attempt: int, slot: Slot
    ) -> "LiveStage":
        folder = run.stage(node.name)
        make_folder(folder)
        handle = launcher.start(stage_request(run.search, node), attempt, slot, folder)
        failpoint("started")
        remember(folder, handle.identity)
        return cls(run, node.name, attempt, handle, slot)

    @property
    def result(self) -> ResultRecord | None:
        """The result of this attempt; one of an earlier attempt only where it was final."""
        found = self._observer.result
        if found is None or found.attempt == self.attempt or found.exit_code == 0:
            return found
        return None

    def hear(self, now: datetime, *, last: bool = False) -> bool:
        """Take in new records; store the status now and then, and always at the end.

        True where an evaluation came: it may be reason to stop the stage.
        """
        if self._records is None:
            self._records = RecordFile(self.run.stage(self.name))
        new = [r for r in self._records.read() if self._observer.take(r)]
        if not new:
            return False
        due = time.monotonic() - self._saved > SAVE_SECONDS
        if last or due or any(r.type != "step" for r in new):
            status = self._observer.status(self.run.nodes[self.name], now)
            self.run.save_status(self.name, status)
            self._saved = time.monotonic()
        return any(r.type == "eval" for r in new)

    def tell(self) -> None:
        """SIGTERM, once."""
        if self.told_at is None:
            self.told_at = time.monotonic()
            self.handle.identity.terminate()


def adopt(run: RunDirectory, node: StageNode) -> LiveStage:
    """The stage as an earlier runner left it; its process may be gone."""
    attempt = node.status.attempt_count
    identity = recall(run.stage(node.name), attempt)
    return LiveStage(run, node.name, attempt, Adopted(identity))
