"""The plan's decisions on this machine, each idempotent, each stored before its effect."""

import contextlib
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from threading import Thread
from typing import ParamSpec, Protocol, TypeVar

from llmzero.api.proposals import (
    Answered,
    ProposalRequest,
    VerdictAnswer,
    VerdictRequest,
)
from llmzero.api.spec import Agent
from llmzero.api.stage import Audit, StageNode
from llmzero.failpoints import failpoint
from llmzero.local import approvals
from llmzero.local.store import RunDirectory
from llmzero.search.decisions import (
    Ask,
    Create,
    Decision,
    Expand,
    MarkAudit,
    Prune,
    Review,
    Start,
    Stop,
)
from llmzero.search.expansion import with_answer
from llmzero.search.lifecycle import request_stop
from llmzero.search.stopping import after_review

P = ParamSpec("P")
T = TypeVar("T")


class Asker(Protocol):
    """Whoever answers for the agent; never raises, never answers late."""

    def propose(self, request: ProposalRequest, agent: Agent | None) -> Answered: ...

    def review(self, request: VerdictRequest, agent: Agent | None) -> VerdictAnswer: ...


class Applier:
    """Applies decisions; answers of the agent come back through :meth:`take_answers`."""

    def __init__(
        self,
        run: RunDirectory,
        clock: Callable[[], datetime],
        start: Callable[[str, int], None],
        stop: Callable[[str], None],
        asker: Asker | None,
        heard: Callable[[StageNode, Answered | VerdictAnswer], None],
    ) -> None:
        self._run = run
        self._clock = clock
        self._start = start
        self._stop = stop
        self._asker = asker
        self._heard = heard
        self._asked: dict[str, Future[Answered]] = {}
        self._reviewed: dict[str, tuple[VerdictRequest, Future[VerdictAnswer]]] = {}

    def apply(self, decision: Decision) -> None:
        """Raises RunError where the disk is in the way."""
        run = self._run
        match decision:
            case Create(node=node):
                run.create(node, self._clock())
            case Expand(node=name, expansion=expansion):
                run.save_status(name, run.nodes[name].status.with_(expansion=expansion))
                self._heard(run.nodes[name], expansion.answers[-1])
            case Start(node=name, attempt=attempt):
                self._start(name, attempt)
            case Stop(node=name, stop=stop):
                if run.nodes[name].status.stop is None:
                    run.save_status(name, request_stop(run.nodes[name], stop))
                self._stop(name)
            case MarkAudit(node=name, audit=audit):
                run.save_status(name, run.nodes[name].status.with_(audit=audit))
            case Prune(node=name, keep=keep):
                self._prune(name, keep)
            case Ask(node=name, request=request):
                if name not in self._asked and self._asker is not None:
                    agent = run.search.spec.agent
                    self._asked[name] = _background(self._asker.propose, request, agent)
            case Review(node=name, request=verdict):
                if name not in self._reviewed and self._asker is not None:
                    agent = run.search.spec.agent
                    future = _background(self._asker.review, verdict, agent)
                    self._reviewed[name] = (verdict, future)

    def take_answers(self) -> bool:
        """Store the answers that came, and what a person approved; whether there were any (then
        a plan should follow)."""
        came = approvals.take(self._run)
        for name, future in list(self._asked.items()):
            if future.done():
                del self._asked[name]
                self._store(name, future.result())
                came = True
        for name, (request, verdict) in list(self._reviewed.items()):
            if verdict.done():
                del self._reviewed[name]
                self._judge(name, request, verdict.result())
                came = True
        return came

    def _store(self, name: str, answer: Answered) -> None:
        node = self._run.nodes[name]
        before, manual = node.status.expansion, self._run.search.spec.approval == "manual"
        expansion = with_answer(before, answer, manual, self._clock())
        self._run.save_status(name, node.status.with_(expansion=expansion))
        self._heard(self._run.nodes[name], answer)

    def _judge(self, name: str, request: VerdictRequest, verdict: VerdictAnswer) -> None:
        """A veto lets the stage run on as an audited one; anything else stops it."""
        node, now = self._run.nodes[name], self._clock()
        if node.status.phase.final:
            return
        stored = after_review(request, verdict, node.status.step, now)
        if isinstance(stored, Audit):
            self._run.save_status(name, node.status.with_(audit=stored))
        else:
            self._run.save_status(name, request_stop(node, stored))
            self._stop(name)
        self._heard(node, verdict)

    def _prune(self, name: str, keep: tuple[int, ...]) -> None:
        """Written down first: what the status does not list, nothing branches from."""
        run = self._run
        status = run.nodes[name].status
        gone = [step for step in status.checkpoints if step not in keep]
        if not gone:
            return
        run.save_status(
            name, status.with_(checkpoints=[s for s in status.checkpoints if s in keep])
        )
        failpoint("before-prune")
        drop_unlisted(run, name)


def _background(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """The call in a daemon thread: an agent that is slow to answer delays no Ctrl-C."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)

    Thread(target=work, name="ask", daemon=True).start()
    return future


def drop_unlisted(run: RunDirectory, name: str) -> None:
    """Delete the checkpoints of an ended stage that its status does not list."""
    folder, listed = run.stage(name), run.nodes[name].status.checkpoints
    for found in folder.glob("checkpoint-*"):
        if found.name.removeprefix("checkpoint-") not in map(str, listed):
            gone = found.with_name(f".gone-{found.name}")
            with contextlib.suppress(OSError):
                found.rename(gone)  # a checkpoint is never there in part
    for gone in folder.glob(".gone-*"):
        shutil.rmtree(gone, ignore_errors=True)
