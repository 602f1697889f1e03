"""The plan's decisions on this machine, each idempotent, each stored before its effect."""

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Protocol

from llmzero.api.proposals import (
    Answered,
    Expansion,
    ProposalRequest,
    VerdictAnswer,
    VerdictRequest,
)
from llmzero.api.spec import Agent
from llmzero.api.stage import Audit, StopDecision
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
from llmzero.search.lifecycle import request_stop


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
    ) -> None:
        self._run = run
        self._clock = clock
        self._start = start
        self._stop = stop
        self._asker = asker
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="ask")
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
                    self._asked[name] = self._pool.submit(self._asker.propose, request, agent)
            case Review(node=name, request=verdict):
                if name not in self._reviewed and self._asker is not None:
                    agent = run.search.spec.agent
                    future = self._pool.submit(self._asker.review, verdict, agent)
                    self._reviewed[name] = (verdict, future)

    def take_answers(self) -> bool:
        """Store the answers that came; whether there were any (then a plan should follow)."""
        came = False
        for name, future in list(self._asked.items()):
            if future.done():
                del self._asked[name]
                self._store(name, future.result())
                came = True
        for name, (_, verdict) in list(self._reviewed.items()):
            if verdict.done():
                del self._reviewed[name]
                self._judge(name, verdict.result())
                came = True
        return came

    def _store(self, name: str, answer: Answered) -> None:
        node = self._run.nodes[name]
        before = node.status.expansion or Expansion()
        if any(a.request_id == answer.request_id for a in before.answers):
            return
        expansion = before.with_(answers=[*before.answers, answer])
        self._run.save_status(name, node.status.with_(expansion=expansion))

    def _judge(self, name: str, verdict: VerdictAnswer) -> None:
        """A veto lets the stage run on as an audited one; anything else stops it."""
        node, now = self._run.nodes[name], self._clock()
        if node.status.phase.final:
            return
        if verdict.verdict == "continue":
            audit = Audit(message=f"vetoed: {verdict.reason}"[:1024], at=now, step=node.status.step)
            self._run.save_status(name, node.status.with_(audit=audit))
            return
        stop = StopDecision(reason="CurveBelowBest", message=verdict.reason[:1024], at=now)
        self._run.save_status(name, request_stop(node, stop))
        self._stop(name)

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
        for step in gone:
            shutil.rmtree(run.stage(name) / f"checkpoint-{step}", ignore_errors=True)
