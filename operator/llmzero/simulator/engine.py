"""A whole search in a simulated world: the same plan, life cycle and diagnosis as the real engines.

Stages take simulated time; what ends is recorded one at a time, with a plan after each, exactly as
an engine does. A search of 30 stages takes some tenths of a second.
"""

import heapq
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from llmzero import rules, strategies
from llmzero.api.contract import ExitCode, ResultRecord
from llmzero.api.curve import Curve
from llmzero.api.proposals import Answered
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Audit, Phase, Purpose, StageNode, StopDecision
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
from llmzero.search.lifecycle import begin, finish, request_stop
from llmzero.search.stopping import after_review
from llmzero.simulator.training import SimulatedTrainer, Training
from llmzero.simulator.world import World

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
OVERHEAD: Final = 20.0
"""Simulated seconds that a process takes to start."""


@dataclass(frozen=True, slots=True)
class Trace:
    """How a search went, by what only a simulator knows: exact accuracies."""

    spent: list[float]
    """Share of the budget, at every change of the leader; ascending from 0 to 1."""
    leader: list[float]
    """Accuracy of the stage that led then; of the base model at first."""
    winner: float
    """Accuracy of the checkpoint that the search chose; of the base model where it chose none."""
    best: float
    """Accuracy of the best checkpoint that any stage of the search left."""
    base: float
    seconds: float
    """Simulated time."""
    train_tokens: int
    eval_tokens: int = 0
    saved: float = 0.0
    """Full stages' worth of steps that early stopping did not run."""
    stopped: int = 0
    """Stages stopped early."""
    stopped_wrongly: int = 0
    """Of those: would have ended within the margin of the leader at equal cost, exactly."""

    @property
    def area(self) -> float:
        """Mean accuracy of the leader over the budget: area under the best-so-far curve."""
        spans = pairwise([*self.spent, 1.0])
        return sum((b - a) * value for (a, b), value in zip(spans, self.leader, strict=True))


class SimulatedEngine:
    """Runs one search to its end. ``nodes`` and ``search`` are as an engine would store them."""

    def __init__(self, search: TrainingSearch, world: World) -> None:
        if search.spec.objective.direction != "maximize":
            raise ValueError("objective.direction: simulated worlds have an accuracy to maximize")
        self.search, self.world = search, world
        self.trainer = SimulatedTrainer(search, world)
        self.nodes: dict[str, StageNode] = {}
        self.clock = 0.0
        self.plans = 0
        self._events: list[tuple[float, str, int, bool]] = []
        self._running: dict[str, Training] = {}
        self._completions = 0
        self._top = -math.inf
        self._base = world.accuracy(world.base())
        self._spent, self._leader = [0.0], [self._base]
        self._wrongly = 0

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.clock)

    def run(self, most_events: int = 100_000) -> Trace:
        """Until the search is Complete or Failed. Raises RuntimeError where it never ends."""
        self._plan()
        for _ in range(most_events):
            if not self._events:
                return self._trace()
            self.clock, name, step, end = heapq.heappop(self._events)
            if name not in self._running:
                continue  # it was stopped before
            if end:
                self._end(name)
            elif not self._look(name, step):
                continue
            self._plan()
        raise RuntimeError(f"{self.search.name}: no end after {most_events} events")

    # Planning -------------------------------------------------------------------------------

    def _plan(self) -> None:
        plan = strategies.plan(self.search, list(self.nodes.values()), self.now)
        self.plans += 1
        asked = False
        for decision in plan.decisions:
            asked |= self._apply(decision)
        self.search = self.search.with_(status=plan.status)
        best = plan.status.best
        if best is not None and best.split == "search":
            value = self.trainer.accuracy(self.nodes[best.node])
            if value is not None and value != self._leader[-1]:
                self._spent.append(self._share())
                self._leader.append(value)
        if asked:
            self._plan()

    def _share(self) -> float:
        """What is spent of the budget, by the limit that is nearest."""
        budget, ledger = self.search.spec.budget, self.search.status.ledger
        tokens = ledger.train_tokens + ledger.eval_tokens
        return min(
            max(ledger.stages_spent / budget.stages, tokens / (budget.tokens or math.inf)), 1
        )

    def _set(self, name: str, **status: object) -> None:
        node = self.nodes[name]
        self.nodes[name] = node.with_(status=node.status.with_(**status))

    def _apply(self, decision: Decision) -> bool:
        """Whether another plan is due at once: an answer has come."""
        match decision:
            case Create(node=node):
                self.nodes.setdefault(node.name, node)
            case Expand(node=name, expansion=expansion):
                self._set(name, expansion=expansion)
            case Start(node=name, attempt=attempt):
                self._start(name, attempt)
            case Stop(node=name, stop=stop):
                self._stop(name, stop)
            case MarkAudit(node=name, audit=audit):
                self._set(name, audit=audit)
            case Prune(node=name, keep=keep):
                self._set(name, checkpoints=list(keep))
            case Review(node=name, request=request):
                step = self.nodes[name].status.step
                found = after_review(request, None, step, self.now)
                self._stop(name, found)
            case Ask(node=name, request=request):
                answered = Answered(
                    request_id=request.request_id,
                    answered_by="agent",
                    provider="simulated by the rules",
                    answer=rules.propose(request),
                )
                old = self.nodes[name].status.expansion
                self._set(name, expansion=with_answer(old, answered, False, self.now))
                return True
        return False

    # Stages ---------------------------------------------------------------------------------

    def _start(self, name: str, attempt: int) -> None:
        node = self.nodes[name]
        node = node.with_(status=begin(node, attempt, self.now).with_(phase=Phase.RUNNING))
        self.nodes[name] = node
        training = self.trainer.train(node) if node.spec.steps else self.trainer.score(node)
        self._running[name] = training
        rule = self.search.spec.strategy.early_stopping
        begun = self.clock + OVERHEAD
        end = begun + max(training.ran, 1) * training.seconds_a_step
        heapq.heappush(self._events, (end, name, training.ran, True))
        if rule.enabled and node.spec.purpose is Purpose.TRAIN:
            for score in training.scores[rule.looks : -1]:
                at = begun + score.step * training.seconds_a_step
                heapq.heappush(self._events, (at, name, score.step, False))

    def _look(self, name: str, step: int) -> bool:
        """The stage tells what it has done so far; whether a plan could stop a stage for that.

        No rule stops a stage that is within the margin of the best score there is.
        """
        self._tell(name, step)
        training, rule = self._running[name], self.search.spec.strategy.early_stopping
        value = next(s.value for s in training.scores if s.step == step)
        return value < self._top - rule.margin

    def _tell(self, name: str, until: int) -> None:
        training = self._running[name]
        count = sum(s <= until for s in training.steps)
        self._set(
            name,
            step=until,
            curve=Curve.model_construct(
                steps=training.steps[:count],
                metrics={k: v[:count] for k, v in training.metrics.items()},
                scores=[s for s in training.scores if s.step <= until],
            ),
            checkpoints=[s for s in training.checkpoints if s <= until],
        )

    def _stop(self, name: str, stop: StopDecision | Audit) -> None:
        """A running stage ends where it stands; one that waits ends without having run."""
        node = self.nodes[name]
        if isinstance(stop, Audit):  # a veto
            self._set(name, audit=stop)
            return
        self.nodes[name] = node.with_(status=request_stop(node, stop))
        training = self._running.setdefault(name, Training(exit_code=ExitCode.INTERRUPTED))
        if training.exit_code is ExitCode.DONE and self._was_fine(node):
            self._wrongly += 1
        training.ran, training.exit_code = node.status.step, ExitCode.INTERRUPTED
        heapq.heappush(self._events, (self.clock, name, training.ran, True))

    def _was_fine(self, node: StageNode) -> bool:
        """Whether a running stage would end within the margin of the leader at equal cost."""
        best = self.search.status.best
        prompts = self.search.spec.stage.prompts_per_step
        end = node.spec.data_offset // prompts + node.spec.steps
        value = self.trainer.accuracy(node, node.spec.steps)
        if best is None or value is None:
            return False
        level, at = self._base, 0
        above: StageNode | None = self.nodes[best.node]
        while above is not None:
            begun = above.spec.data_offset // prompts
            for step in range(1, above.spec.steps + 1):
                found = self.trainer.accuracy(above, step) if at < begun + step <= end else None
                if found is not None:
                    level, at = found, begun + step
            above = self.nodes.get(above.spec.parent or "")
        return value >= level - self.search.spec.strategy.early_stopping.margin

    def _end(self, name: str) -> None:
        training = self._running[name]
        self._tell(name, training.ran)
        del self._running[name]
        node = self.nodes[name]
        last = node.status.curve.scores[-1] if node.status.curve.scores else None
        seconds = OVERHEAD + training.ran * training.seconds_a_step
        result = ResultRecord(
            attempt=node.status.attempt_count or 1,
            seq=1,
            time=self.clock,
            exit_code=int(training.exit_code),
            step=training.ran,
            value=last.value if last else None,
            standard_error=last.standard_error if last else None,
            questions=last.questions if last else None,
            device_seconds=seconds,
            train_tokens=int(training.ran * training.tokens_a_step),
            eval_tokens=int(
                sum(s.questions * s.metrics["mean_length"] for s in node.status.curve.scores)
            ),
        )
        self._completions += 1
        parent = self.nodes.get(node.spec.parent or "")
        status = finish(
            self.search,
            node,
            int(training.exit_code),
            result,
            "",
            self.now,
            self._completions,
            parent,
        )
        self.nodes[name] = node.with_(status=status)
        self._top = max([self._top, *(s.value for s in node.status.curve.scores)])

    def _trace(self) -> Trace:
        best = self.search.status.best
        winner = self.trainer.accuracy(self.nodes[best.node]) if best is not None else None
        every = [self.world.accuracy(state) for state in self.trainer.states.values()]
        return Trace(
            spent=self._spent,
            leader=self._leader,
            winner=self._base if winner is None else winner,
            best=max([self._base, *every]),
            base=self._base,
            seconds=self.clock,
            train_tokens=self.search.status.ledger.train_tokens,
            eval_tokens=self.search.status.ledger.eval_tokens,
            saved=self.search.status.ledger.saved_by_stopping,
            stopped=self.search.status.ledger.early_stopped,
            stopped_wrongly=self._wrongly,
        )
