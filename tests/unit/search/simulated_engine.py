"""A simulated engine: applies plans to objects in memory, and ends stages with seeded results.

Nothing trains. Each stage's objective follows a saturating curve that its settings bend, with
evaluation noise; failures, early stops, retries and the order of completions are drawn.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from llmzero import rules, strategies
from llmzero.api.base import ObjectMeta
from llmzero.api.curve import Curve, Score
from llmzero.api.parameters import Parameter, Role
from llmzero.api.proposals import Answered
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Agent, Budget, EarlyStopping, SearchSpec, StagePlan, Strategy
from llmzero.api.stage import (
    Cost,
    Outcome,
    Phase,
    Purpose,
    Result,
    StageNode,
    StageStatus,
)
from llmzero.api.task import ModelSource, Objective, Task
from llmzero.search.decisions import (
    Ask,
    Create,
    Decision,
    Expand,
    MarkAudit,
    Plan,
    Prune,
    Review,
    Start,
    Stop,
)
from llmzero.search.expansion import with_answer
from llmzero.search.stopping import after_review

START = datetime(2026, 1, 1, tzinfo=UTC)
QUESTIONS = 60

PARAMETERS = [
    Parameter(
        name="learning_rate",
        role=Role.REGULARIZATION,
        min=1e-7,
        max=1e-3,
        scale="log",
        initial=1e-6,
    ),
    Parameter(name="beta", role=Role.REGULARIZATION, min=0, max=0.2, initial=0.02),
    Parameter(name="temperature", role=Role.REGULARIZATION, min=0.4, max=1.5, initial=1.0),
    Parameter(
        name="max_completion_length",
        role=Role.CAPACITY,
        type="int",
        min=128,
        max=4096,
        initial=512,
    ),
    Parameter(
        name="num_generations",
        role=Role.CAPACITY,
        type="categorical",
        choices=[4, 8, 16],
        initial=8,
    ),
]


def make_search(
    *,
    name: str = "sim",
    uid: str = "uid-1",
    strategy: str = "llmzero",
    parameters: list[Parameter] | None = None,
    agent: bool = False,
    direction: str = "maximize",
    target: float | None = None,
    steps: int = 100,
    eval_every: int = 25,
    approval: str = "auto",
    early_stopping: EarlyStopping | None = None,
    options: dict | None = None,
    budget: Budget | None = None,
    parallelism: int = 2,
    max_depth: int = 6,
    seed: int = 1,
    candidates: int = 3,
    stages: float = 24,
    failures: int = 1000,
) -> TrainingSearch:
    return TrainingSearch(
        metadata=ObjectMeta(name=name, uid=uid, namespace="team"),
        spec=SearchSpec(
            objective=Objective(direction=direction, target=target),
            model=ModelSource(builtin="scratchpad-addition"),
            task=Task(name="scratchpad-addition"),
            parameters=parameters or PARAMETERS,
            stage=StagePlan(steps=steps, eval_every=eval_every, checkpoint_every=eval_every),
            strategy=Strategy(
                name=strategy,
                options=options or {},
                parallelism=parallelism,
                max_depth=max_depth,
                seed=seed,
                candidates=candidates,
                early_stopping=early_stopping or EarlyStopping(),
            ),
            budget=budget or Budget(stages=stages, failures=failures),
            agent=Agent(endpoint="default") if agent else None,
            approval=approval,
        ),
    )


def hex_digits(value: float, random: Random, questions: int = QUESTIONS) -> str:
    """Per-question scores whose mean is near ``value`` (0..1)."""
    return "".join("f" if random.random() < value else "0" for _ in range(questions))


def score(step: int, digits: str) -> Score:
    scores = [int(d, 16) / 15 for d in digits]
    mean = sum(scores) / len(scores)
    variance = sum((s - mean) ** 2 for s in scores) / (len(scores) - 1)
    return Score(
        step=step,
        value=mean,
        standard_error=math.sqrt(variance / len(scores)),
        questions=len(scores),
        per_question=digits,
    )


@dataclass
class SimulatedEngine:
    """``fates`` are chances of out of memory, divergence, crash and retry of a Train stage."""

    search: TrainingSearch
    seed: int = 0
    out_of_memory: float = 0.0
    diverge: float = 0.0
    crash: float = 0.0
    retry: float = 0.0
    answers: bool = True
    nodes: dict[str, StageNode] = field(default_factory=dict)
    now: datetime = START
    log: list[str] = field(default_factory=list)
    """Names in the order in which they ended."""
    ended: dict[str, StageStatus] = field(default_factory=dict)
    """The status with which each stage ended."""
    asked: list[Ask] = field(default_factory=list)
    reviewed: list[Review] = field(default_factory=list)
    plans: int = 0
    after_plan: Callable[["SimulatedEngine", Plan], None] | None = None

    def __post_init__(self) -> None:
        self.random = Random(self.seed)

    # The loop of an engine ------------------------------------------------------------------

    def plan(self) -> Plan:
        plan = strategies.plan(self.search, list(self.nodes.values()), self.now)
        self.plans += 1
        return plan

    def step(self) -> Plan:
        """One plan, applied; the status is written last."""
        plan = self.plan()
        if self.after_plan is not None:
            self.after_plan(self, plan)
        self.apply(plan.decisions)
        self.search = self.search.with_(status=plan.status)
        return plan

    def run(self, most: int = 2000, order: Callable[[list[str]], str] | None = None) -> Plan:
        """Until nothing runs and nothing is planned. ``order`` picks which stage ends next."""
        for _ in range(most):
            plan = self.step()
            running = self.running()
            if not running and not plan.decisions:
                return plan
            if not running:
                continue
            if order is None and self.random.random() < 0.5:
                self.advance(self.random.choice(running))
                continue
            name = order(running) if order is not None else self.random.choice(running)
            self.end(name)
        raise AssertionError(f"the search did not end within {most} steps")

    def running(self) -> list[str]:
        busy = (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)
        return sorted(n.name for n in self.nodes.values() if n.status.phase in busy)

    def trains(self) -> list[StageNode]:
        return [n for n in self.nodes.values() if n.spec.purpose is Purpose.TRAIN]

    def by_path(self, path: str) -> StageNode:
        return next(n for n in self.trains() if n.spec.path == path)

    def set(self, name: str, **status: object) -> None:
        node = self.nodes[name]
        self.nodes[name] = node.with_(status=node.status.with_(**status))

    def apply(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            self._apply(decision)

    def _apply(self, decision: Decision) -> None:
        match decision:
            case Create(node=node):
                self.nodes.setdefault(node.name, node)
            case Expand(node=name, expansion=expansion):
                self.set(name, expansion=expansion)
            case Start(node=name, attempt=attempt):
                self.set(name, phase=Phase.RUNNING, attempt_count=attempt)
            case Stop(node=name, stop=stop):
                self.set(name, stop=stop, phase=Phase.STOPPING)
            case MarkAudit(node=name, audit=audit):
                self.set(name, audit=audit)
            case Prune(node=name, keep=keep):
                self.set(name, checkpoints=list(keep))
            case Ask():
                if self.answers:
                    self.answer(decision)
                else:
                    self.asked.append(decision)
            case Review(node=name, request=request):
                self.reviewed.append(decision)
                step = self.nodes[name].status.step
                done = after_review(request, None, step, self.now)
                self.set(name, stop=done, phase=Phase.STOPPING)

    def answer(self, ask: Ask) -> None:
        """As the agent service would: here the rules answer in its name."""
        answered = Answered(
            request_id=ask.request.request_id,
            answered_by="agent",
            provider="simulated",
            answer=rules.propose(ask.request),
        )
        manual = self.search.spec.approval == "manual"
        old = self.nodes[ask.node].status.expansion
        self.set(ask.node, expansion=with_answer(old, answered, manual, self.now))

    # What stages do -------------------------------------------------------------------------

    def advance(self, name: str) -> None:
        """A running stage reports its next evaluation."""
        node = self.nodes[name]
        every = self.search.spec.stage.eval_every
        step = min(node.status.step + every, node.spec.steps)
        if node.spec.purpose is Purpose.TRAIN and node.status.phase is Phase.RUNNING:
            self._report(name, step)

    def end(self, name: str) -> None:
        """The stage ends, well or not; its completion gets the next number."""
        node = self.nodes[name]
        draw = Random(f"{self.seed}/{node.name}/{node.status.attempt_count}").random()
        stop = node.status.stop
        if stop is not None and stop.reason in ("Suspended", "Silent"):
            self.set(name, phase=Phase.PENDING, stop=None)
        elif stop is not None:
            early = stop.reason != "SearchEnded"
            outcome = Outcome.EARLY_STOPPED if early else Outcome.INTERRUPTED
            self._close(name, Phase.STOPPED, outcome)
        elif node.spec.purpose is not Purpose.TRAIN:
            self._evaluated(name)
        elif draw < self.retry and node.status.attempt_count < 3:
            self.set(name, phase=Phase.PENDING)
        elif draw < self.retry + self.out_of_memory:
            self._close(name, Phase.FAILED, Outcome.OUT_OF_MEMORY)
        elif draw < self.retry + self.out_of_memory + self.diverge:
            self._report(name, min(self.search.spec.stage.eval_every, node.spec.steps))
            self._close(name, Phase.FAILED, Outcome.DIVERGED)
        elif draw < self.retry + self.out_of_memory + self.diverge + self.crash:
            self._close(name, Phase.FAILED, Outcome.FAILED)
        else:
            self._report(name, node.spec.steps)
            self._close(name, Phase.SUCCEEDED, Outcome.SUCCEEDED)

    def _report(self, name: str, until: int) -> None:
        node, every = self.nodes[name], self.search.spec.stage.eval_every
        steps = [*range(0, until, every), until]
        known = {s.step: s for s in node.status.curve.scores}
        scores = [known.get(step) or self.look(node, step) for step in steps]
        marks = [s for s in steps if s > 0]
        self.set(name, step=until, curve=Curve(scores=scores), checkpoints=marks)

    def look(self, node: StageNode, step: int) -> Score:
        value = self.truth(node, step)
        # Common questions for all stages, and the seed of the stage's own luck.
        noise = Random(f"{self.seed}/{node.name}/{step}").gauss(0, 0.03)
        value = min(max(value + noise, 0.01), 0.99)
        if self.search.spec.objective.direction == "minimize":
            value = 1 - value
        questions = Random(f"{self.seed}/questions")
        return score(step, hex_digits(value, questions))

    def truth(self, node: StageNode, step: int) -> float:
        """Accuracy without noise: gains saturate, and are largest near a good setting."""
        path, here = [], node
        while True:
            path.append((here.spec, step))
            if here.spec.start is None:
                break
            step = here.spec.start.step
            here = self.nodes[here.spec.start.node]
        value = 0.2
        for spec, ran in reversed(path):
            fit = 1.0
            for p in self.search.spec.parameters:
                ideal = 0.55 + 0.2 * math.sin(len(p.name))
                fit -= 0.8 * (p.to_unit(spec.parameters[p.name]) - ideal) ** 2
            rate = 0.35 * ran / self.search.spec.stage.steps * max(fit, -0.2)
            value += (0.9 - value) * rate
        return value

    def _evaluated(self, name: str) -> None:
        node = self.nodes[name]
        subject = self.nodes.get(node.spec.start.node) if node.spec.start else None
        value = self.truth(subject, node.spec.start.step) if subject else 0.2
        if self.search.spec.objective.direction == "minimize":
            value = 1 - value
        questions = Random(f"{self.seed}/{node.spec.purpose}")
        digits = hex_digits(min(max(value, 0.01), 0.99), questions, 200)
        self.set(name, curve=Curve(scores=[score(0, digits)]))
        self._close(name, Phase.SUCCEEDED, Outcome.SUCCEEDED)

    def _close(self, name: str, phase: Phase, outcome: Outcome) -> None:
        status = self.nodes[name].status
        self.now += timedelta(minutes=1)
        self.log.append(name)
        self.set(
            name,
            phase=phase,
            outcome=outcome,
            sequence=len(self.log),
            result=_result(status),
            finished_at=self.now,
            cost=Cost(device_seconds=float(status.step), train_tokens=400 * status.step),
        )
        self.ended[name] = self.nodes[name].status


def _result(status: StageStatus) -> Result | None:
    if not status.curve.scores:
        return None
    last = status.curve.scores[-1]
    return Result(
        value=last.value,
        standard_error=last.standard_error,
        questions=last.questions,
        step=last.step,
    )
