"""The loop on one machine: hear, record one completion, plan, apply, write the status last."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import FrameType

from llmzero import strategies
from llmzero.api.contract import STORAGE_FULL, ExitCode
from llmzero.api.search import SearchStatus
from llmzero.api.stage import Outcome, Phase, StageNode, StageStatus, StopDecision
from llmzero.failpoints import failpoint
from llmzero.local.apply import Applier, Asker, drop_unlisted
from llmzero.local.devices import Slot, slots
from llmzero.local.errors import RunError, UsageError
from llmzero.local.launch import Ended, Launcher
from llmzero.local.listener import Listener
from llmzero.local.live import LiveStage, adopt
from llmzero.local.records import last_words
from llmzero.local.store import RunDirectory
from llmzero.search import lifecycle

POLL_SECONDS = 0.05
REPLAN_SECONDS = 2.0
"""Deadlines and retries are looked at so often, beside every completion and evaluation."""
GRACE_SECONDS = 30.0
"""From SIGTERM to SIGKILL; a trainer saves and leaves in a few seconds."""
CRASH = 1
"""Exit code of a Python that died of an exception."""


class Runner:
    """Runs the search of one directory to its end, or until it is interrupted."""

    def __init__(
        self,
        run: RunDirectory,
        launcher: Launcher,
        listener: Listener,
        asker: Callable[[], contextlib.AbstractContextManager[Asker]] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.run_directory = run
        self._launcher = launcher
        self._listener = listener
        self._clock = clock
        self._asker = asker
        self._live: dict[str, LiveStage] = {}
        self._begun: list[str] = []
        self._waiting = False
        self._slots = slots(run.search.spec.strategy.parallelism)
        self._interrupts = 0
        self._leaving = False
        self._planned_at = 0.0

    def run(self) -> SearchStatus:
        """Until Complete, Failed or Suspended, or interrupted (then the status is neither).

        Raises RunError where the machine is in the way, UsageError where the manifest is;
        running again goes on. KeyboardInterrupt after a second signal.
        """
        asking = self._asker() if self._asker else contextlib.nullcontext()
        with self._signals(), asking as asker:
            heard, start, stop = self._listener.answered, self._start, self._stop
            self._applier = Applier(self.run_directory, self._clock, start, stop, asker, heard)
            try:
                self._find_stages()
                self._show()
                self._plan()
                while not self._over() and not self._interrupts:
                    self._turn()
                    time.sleep(POLL_SECONDS)
                return self.run_directory.search.status
            finally:
                self._leave()

    def _over(self) -> bool:
        status = self.run_directory.search.status
        return status.phase in ("Complete", "Failed", "Suspended") and not self._live

    def _turn(self) -> None:
        """One look at every stage; at most one completion is recorded, then a plan follows."""
        now, news = self._clock(), self._waiting and self._launcher.ready()
        self._waiting = self._waiting and not news
        # Before the completions, each of which ends the turn: where stages are shorter than a turn,
        # answers would wait to the end of the search.
        news |= self._applier.take_answers()
        for stage in self._live.values():
            news |= stage.hear(now)
        # Those without a slot ended under an earlier runner: what has succeeded since must not count
        # when it is judged whether a person has to mend what ended them.
        for name in sorted(self._live, key=lambda n: (self._live[n].slot is not None, n)):
            stage = self._live[name]
            ended = stage.handle.poll()
            if ended is not None:
                self._complete(stage, ended)
                self._plan(name)
                return
            self._watch_over(stage, now)
        if news or time.monotonic() - self._planned_at > REPLAN_SECONDS:
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
        del self._live[stage.name]
        node, result = run.nodes[stage.name], stage.result
        code = ended.code
        if result is not None and (code is None or code < 0):
            code = result.exit_code  # a signal after the last word takes nothing back
        message = result.message if result else last_words(run.stage(node.name), stage.attempt)
        if self._is_broken(node, code):
            run.save_status(node.name, self._again(stage, message, now))
            if ended.code is None:
                return  # an earlier runner's trouble, maybe mended since
            wrong = UsageError if code == ExitCode.INVALID_REQUEST else RunError
            raise wrong(f"stage {node.spec.path}: {message or f'exit code {code}'}")
        parent = run.nodes.get(node.spec.parent or "")
        status = lifecycle.finish(
            run.search, node, code, result, message, now, run.next_sequence, parent
        )
        failpoint("before-completion")
        run.save_status(node.name, status)
        failpoint("after-completion")

    def _is_broken(self, node: StageNode, code: int | None) -> bool:
        """A full disk, or settings that let no stage run at all, are a person's to mend."""
        if code == ExitCode.STORAGE:
            return True
        if any(n.status.outcome is Outcome.SUCCEEDED for n in self.run_directory.nodes.values()):
            return False
        unheard = code == CRASH and node.status.last_heard_at is None
        return unheard or code in (ExitCode.INVALID_REQUEST, ExitCode.REWARD_FAILED)

    def _again(self, stage: LiveStage, message: str, now: datetime) -> StageStatus:
        """Back to Pending; the attempt is not counted."""
        run = self.run_directory
        node = run.nodes[stage.name]
        return lifecycle.finish(
            run.search,
            node.with_(status=node.status.with_(stop=None)),
            ExitCode.INTERRUPTED,
            stage.result,
            message,
            now,
            run.next_sequence,
            # Whoever starts the run again has made room: the stage waits for nothing.
            reason="Storage" if stage.result and stage.result.reason == STORAGE_FULL else "",
        )

    def _plan(self, ended: str | None = None) -> None:
        run = self.run_directory
        self._planned_at = time.monotonic()
        plan = strategies.plan(run.search, list(run.nodes.values()), self._clock())
        for decision in plan.decisions:
            failpoint("before-decision")
            self._applier.apply(decision)
            failpoint("after-decision")
        run.save_search(plan.status)
        self._show()
        if ended is not None:
            self._listener.ended(run.nodes[ended])
        for name in self._begun:
            self._listener.started(run.nodes[name])
        self._begun.clear()

    def _start(self, name: str, attempt: int) -> None:
        """Store that the attempt begins, start its process, store who it is."""
        run = self.run_directory
        slot = self._free_slot()
        if slot is None or name in self._live:
            return  # a later plan asks again
        if not self._launcher.ready():
            self._waiting = True
            return
        node = run.nodes[name]
        run.save_status(name, lifecycle.begin(node, attempt, self._clock()))
        failpoint("before-launch")
        self._live[name] = LiveStage.launch(run, self._launcher, node, attempt, slot)
        failpoint("after-launch")
        self._begun.append(name)

    def _stop(self, name: str) -> None:
        """Tell the process; a stage that has none ends at the next turn."""
        if name not in self._live:
            self._live[name] = adopt(self.run_directory, self.run_directory.nodes[name])
        self._live[name].tell()

    def _free_slot(self) -> Slot | None:
        used = {stage.slot.name for stage in self._live.values() if stage.slot}
        return next((slot for slot in self._slots if slot.name not in used), None)

    def _find_stages(self) -> None:
        """Stages that an earlier runner left: living processes are adopted with their slots.

        Ended ones are recorded by the loop, one at a time, each with its plan, as if they had
        just ended: so the stored order of completions is the one that the tree follows from.
        """
        run = self.run_directory
        for name in sorted(run.nodes):
            node = run.nodes[name]
            if node.status.phase.final:
                drop_unlisted(run, name)
            elif node.status.phase is not Phase.PENDING:
                self._live[name] = adopt(run, node)
        living = [stage for stage in self._live.values() if stage.handle.poll() is None]
        for stage in living:
            known = stage.handle.identity.slot
            stage.slot = next((s for s in self._slots if s.name == known), None)
        for stage in living:
            stage.slot = stage.slot or self._free_slot()
            if run.nodes[stage.name].status.stop is not None:
                stage.tell()

    def _leave(self) -> None:
        """No stage outlives the runner: each saves, says interrupted and can be resumed."""
        self._leaving = True
        if self._interrupts == 1 and self._live:
            self._listener.say("stopping: stages save what is worth saving; again to kill them")
        try:
            for stage in self._live.values():
                stage.tell()
            deadline = time.monotonic() + GRACE_SECONDS
            while self._live and time.monotonic() < deadline and self._interrupts < 2:
                for name in sorted(self._live):
                    ended = self._live[name].handle.poll()
                    if ended is not None:
                        self._left(self._live.pop(name), ended)
                time.sleep(POLL_SECONDS)
            for stage in self._live.values():
                stage.handle.identity.kill()
        finally:
            self._launcher.close()
            self.run_directory.unlock()

    def _left(self, stage: LiveStage, ended: Ended) -> None:
        """An interrupted stage goes back to Pending. One that ended is recorded at the next start,

        where a plan follows before another completion is recorded; so is one that was stopped.
        """
        with contextlib.suppress(RunError):
            now = self._clock()
            stage.hear(now, last=True)
            stopped = self.run_directory.nodes[stage.name].status.stop is not None
            if ended.code == ExitCode.INTERRUPTED and not stopped:
                status = self._again(stage, "interrupted", now)
                if not status.phase.final:
                    self.run_directory.save_status(stage.name, status)

    def _show(self) -> None:
        self._listener.update(self.run_directory.search, self.run_directory.nodes)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """First SIGINT, SIGTERM or SIGHUP: stop cleanly. Second: at once."""

        def heard(number: int, frame: FrameType | None) -> None:
            self._interrupts += 1
            if self._interrupts > 1 and not self._leaving:
                raise KeyboardInterrupt

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        old = {number: signal.signal(number, heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
