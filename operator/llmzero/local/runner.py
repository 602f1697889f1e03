"""The loop on one machine: hear, record one completion, plan, apply, write the status last."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from llmzero import strategies
from llmzero.api.contract import ExitCode
from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import Outcome, Phase, StageNode, StopDecision
from llmzero.local.apply import Applier
from llmzero.local.devices import Slot, slots
from llmzero.local.errors import RunError
from llmzero.local.failpoints import failpoint
from llmzero.local.launch import Ended, Launcher
from llmzero.local.live import LiveStage, adopt
from llmzero.local.records import last_words
from llmzero.local.store import RunDirectory
from llmzero.search import lifecycle

POLL_SECONDS = 0.1
REPLAN_SECONDS = 2.0
"""Early stopping, deadlines and silence are looked at so often, beside every completion."""
GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL; a trainer saves and leaves in a few seconds."""


class Listener(Protocol):
    """Whoever shows the progress."""

    def update(self, search: TrainingSearch, nodes: dict[str, StageNode]) -> None: ...

    def say(self, text: str) -> None: ...


class Runner:
    """Runs the search of one directory to its end, or until it is interrupted."""

    def __init__(
        self,
        run: RunDirectory,
        launcher: Launcher,
        listener: Listener,
        asker: "Callable[[RunDirectory], contextlib.AbstractContextManager[Any]] | None" = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.run_directory = run
        self._launcher = launcher
        self._listener = listener
        self._clock = clock
        self._asker = asker
        self._live: dict[str, LiveStage] = {}
        self._slots = slots(run.search.spec.strategy.parallelism)
        self._interrupts = 0
        self._planned_at = 0.0

    def run(self) -> SearchStatus:
        """Until Complete or Failed, or interrupted (then the status is neither).

        Raises RunError where the machine is in the way; running again goes on.
        """
        asking = self._asker(self.run_directory) if self._asker else contextlib.nullcontext()
        with self._signals(), asking as asker:
            self._applier = Applier(self.run_directory, self._clock, self._start, self._stop, asker)
            try:
                self._recover()
                self._plan()
                while not self._over() and not self._interrupts:
                    self._turn()
                    time.sleep(POLL_SECONDS)
                return self.run_directory.search.status
            finally:
                self._leave()

    @property
    def interrupted(self) -> bool:
        return self._interrupts > 0

    def _over(self) -> bool:
        status = self.run_directory.search.status
        return status.phase in ("Complete", "Failed", "Suspended") and not self._live

    def _turn(self) -> None:
        """One look at every stage; at most one completion is recorded, then a plan follows."""
        now = self._clock()
        for name in sorted(self._live):
            stage = self._live[name]
            stage.hear(now)
            ended = stage.handle.poll()
            if ended is not None:
                self._complete(stage, ended)
                self._plan()
                return
            self._watch_over(stage, now)
        answered = self._applier.take_answers()
        if answered or time.monotonic() - self._planned_at > REPLAN_SECONDS:
            self._plan()
        self._show()

    def _watch_over(self, stage: LiveStage, now: datetime) -> None:
        """Silence and the grace after SIGTERM."""
        node = self.run_directory.nodes[stage.name]
        reason = lifecycle.silent(self.run_directory.search, node, now)
        if reason and node.status.stop is None:
            stop = StopDecision(reason="Silent", message=reason, at=now)
            self.run_directory.save_status(stage.name, lifecycle.request_stop(node, stop))
            self._listener.say(f"stage {node.spec.path}: {reason}; it is stopped and tried again")
            self._stop(stage.name)
        if stage.told_at is not None and time.monotonic() - stage.told_at > GRACE_SECONDS:
            stage.handle.identity.kill()

    def _complete(self, stage: LiveStage, ended: Ended) -> None:
        """The attempt is over: store what it means, with the next number if it is final."""
        run, now = self.run_directory, self._clock()
        stage.hear(now, last=True)
        node = run.nodes[stage.name]
        result = stage.result
        code = ended.code
        if code is None and result is not None:
            code = result.exit_code
        message = result.message if result else last_words(run.stage(node.name), stage.attempt)
        del self._live[stage.name]
        self._refuse_broken_machine(node, code, message)
        parent = run.nodes.get(node.spec.parent or "")
        status = lifecycle.finish(
            run.search, node, code, result, message, now, next_sequence(run), parent
        )
        failpoint("before-completion")
        run.save_status(node.name, status)
        failpoint("after-completion")
        self._listener.say(_told(run.nodes[node.name]))

    def _refuse_broken_machine(self, node: StageNode, code: int | None, message: str) -> None:
        """A full disk, or settings that let no stage run at all, are a person's to mend.

        The stage goes back to Pending without a counted attempt and the run ends with the reason.
        """
        first = not any(
            n.status.outcome is Outcome.SUCCEEDED for n in self.run_directory.nodes.values()
        )
        broken = code == ExitCode.STORAGE or (
            first and code in (ExitCode.INVALID_REQUEST, ExitCode.REWARD_FAILED)
        )
        if not broken:
            return
        self.run_directory.save_status(
            node.name,
            node.status.with_(phase=Phase.PENDING, stop=None, message=message, last_heard_at=None),
        )
        raise RunError(f"stage {node.spec.path}: {message}")

    def _plan(self) -> None:
        run = self.run_directory
        self._planned_at = time.monotonic()
        plan = strategies.plan(run.search, list(run.nodes.values()), self._clock())
        for decision in plan.decisions:
            failpoint("before-decision")
            self._applier.apply(decision)
            failpoint("after-decision")
        run.save_search(plan.status)
        self._show()

    def _start(self, name: str, attempt: int) -> None:
        """Store that the attempt begins, start its process, store who it is."""
        run = self.run_directory
        if name in self._live:
            return
        slot = self._free_slot()
        if slot is None:
            return  # the plan asks again at the next completion
        node = run.nodes[name]
        run.save_status(name, lifecycle.begin(node, attempt, self._clock()))
        failpoint("before-launch")
        self._live[name] = LiveStage.launch(run, self._launcher, node, attempt, slot)
        failpoint("after-launch")

    def _stop(self, name: str) -> None:
        if name in self._live:
            self._live[name].tell()

    def _free_slot(self) -> Slot | None:
        used = {stage.slot.name for stage in self._live.values() if stage.slot}
        return next((slot for slot in self._slots if slot.name not in used), None)

    def _recover(self) -> None:
        """Stages that an earlier runner left: living processes are adopted, ended ones recorded.

        One at a time and in the order of names, each with its plan, so that the order of
        completions that is stored is the one that the tree follows from.
        """
        run = self.run_directory
        unknown = [n for n in sorted(run.nodes) if _under_way(run.nodes[n])]
        for name in unknown:
            stage = adopt(run, run.nodes[name])
            if stage.handle.poll() is None:
                stage.slot = self._free_slot()
                self._live[name] = stage
                if run.nodes[name].status.stop is not None:
                    stage.tell()
        for name in unknown:
            if name not in self._live:
                self._live[name] = adopt(run, run.nodes[name])
                self._complete(self._live[name], Ended(None))
                self._plan()

    def _leave(self) -> None:
        """No stage outlives the runner: each saves, says interrupted and can be resumed."""
        try:
            for stage in self._live.values():
                stage.tell()
            deadline = time.monotonic() + GRACE_SECONDS
            while self._live and time.monotonic() < deadline and self._interrupts < 2:
                for name in sorted(self._live):
                    ended = self._live[name].handle.poll()
                    if ended is not None:
                        self._left(name, ended)
                time.sleep(POLL_SECONDS)
            for stage in self._live.values():
                stage.handle.identity.kill()
        finally:
            self._launcher.close()
            self.run_directory.unlock()

    def _left(self, name: str, ended: Ended) -> None:
        """Interrupted stages go back to Pending; a finished one is recorded at the next start,

        where a plan follows before another completion is recorded.
        """
        stage = self._live.pop(name)
        with contextlib.suppress(RunError):
            stage.hear(self._clock(), last=True)
            if ended.code == ExitCode.INTERRUPTED:
                node = self.run_directory.nodes[name]
                status = lifecycle.finish(
                    self.run_directory.search,
                    node.with_(status=node.status.with_(stop=None)),
                    ended.code,
                    stage.result,
                    "interrupted",
                    self._clock(),
                    0,
                )
                if not status.phase.final and node.status.stop is None:
                    self.run_directory.save_status(name, status)

    def _show(self) -> None:
        self._listener.update(self.run_directory.search, self.run_directory.nodes)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """First SIGINT or SIGTERM: stop cleanly. Second: at once."""

        def heard(number: int, frame: FrameType | None) -> None:
            self._interrupts += 1

        old = {s: signal.signal(s, heard) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def next_sequence(run: RunDirectory) -> int:
    """The next place in the search's order of completions."""
    taken = [n.status.sequence for n in run.nodes.values() if n.status.sequence is not None]
    return max(taken, default=-1) + 1


def _under_way(node: StageNode) -> bool:
    return node.status.phase in (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)


def _told(node: StageNode) -> str:
    status, result = node.status, node.status.result
    value = f" {result.value:.3f} +- {result.standard_error:.3f}" if result else ""
    kinds = ", ".join(p.kind for p in status.pathologies)
    purpose = "" if node.spec.purpose == "Train" else f" ({node.spec.purpose})"
    if not status.phase.final:
        return f"stage {node.spec.path}{purpose}: will be tried again ({status.reason})"
    why = f": {status.message}" if status.message and status.outcome != Outcome.SUCCEEDED else ""
    return f"stage {node.spec.path}{purpose}: {status.outcome}{value}{why}" + (
        f"  [{kinds}]" if kinds else ""
    )


def run_path(name: str) -> Path:
    """Where a search runs if nobody says otherwise."""
    return Path("runs") / name
