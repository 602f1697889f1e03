"""The plan: all that follows from the stored objects at one moment. A pure function.

What is created depends on which stages exist and how the ended ones ended, never on the partial
curve of a running one; partial curves only stop stages early. Decisions are made one at a time
on a tree that is kept as if they were applied, so that any prefix of them, applied and planned
again, yields the rest.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

from numpy import flatnonzero

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, Purpose, StageNode, StopDecision
from llmzero.search.budget import duration
from llmzero.search.decisions import Create, Decision, Expand, Plan, Start, Stop
from llmzero.search.forecast import Forecast
from llmzero.search.nodes import BASE_PATH
from llmzero.search.promotion import (
    Evaluations,
    candidates,
    confirmation,
    promote_nodes,
    ranked,
    scored,
)
from llmzero.search.protocol import Maker, Proposed, Strategy
from llmzero.search.retention import prunes
from llmzero.search.room import again_at
from llmzero.search.rows import Kind, Row
from llmzero.search.status import Verdict, count_failures, make_status
from llmzero.search.tree import Tree
from llmzero.search.values import Values

StopReason = Literal["SearchEnded", "Suspended"]
RUNNING = (Phase.QUEUED, Phase.RUNNING, Phase.STOPPING)


def plan(
    search: TrainingSearch, nodes: Sequence[StageNode], now: datetime, strategy: Maker
) -> Plan:
    """Decisions in the order in which an engine applies them, and the status to write last.

    ``nodes`` are the StageNodes of this search, in any order. Applying a decision twice changes
    nothing; a plan of a search with nothing to do is empty.
    """
    return _Planner(search, nodes, now, strategy).plan()


class _Planner:
    def __init__(
        self, search: TrainingSearch, nodes: Sequence[StageNode], now: datetime, maker: Maker
    ) -> None:
        self.search, self.spec, self.now = search, search.spec, now
        self.tree = Tree(search, nodes)
        self.values = Values(self.tree)
        self.evaluations = Evaluations.of(self.tree.evaluations)
        self.open = self._unfinished()
        """Everything that has not ended, by name; what the plan creates comes behind."""
        account = self.tree.account
        for cost in (n.status.cost for n in self.evaluations.nodes if n.status.phase.final):
            account.seconds.used += cost.device_seconds
            account.tokens.used += cost.eval_tokens
        self.strategy: Strategy = maker(self.tree, self.values)
        self.forecast = Forecast(self.tree)
        self.decisions: list[Decision] = []

    def _unfinished(self) -> list[StageNode]:
        rows = [self.tree.rows[i] for i in flatnonzero(self.tree.of_kind(Kind.IN_FLIGHT))]
        rows += [row for row in self.tree.orphans if row.kind is Kind.IN_FLIGHT]
        found = [row.node for row in rows]
        found += [n for n in self.tree.evaluations if not n.status.phase.final]
        return sorted(found, key=lambda node: node.name)

    def plan(self) -> Plan:
        verdict = self._decide()
        if verdict.phase not in ("Suspended", "Failed"):
            self._start()
        if verdict.phase != "Failed":
            done = verdict.phase == "Complete"
            self.decisions += prunes(self.tree, self.values, self.evaluations, self.open, done)
        status = make_status(
            self.search, self.tree, self.values, self.evaluations, verdict, self.now
        )
        return Plan(tuple(self.decisions), status)

    def _decide(self) -> Verdict:
        """Everything but starting; each case ends in what the status shall say."""
        if self.search.metadata.deletion_timestamp is not None:
            why = "The search is being deleted."
            self._stop(self.open, "SearchEnded", why)
            return Verdict("Suspended", "Deleting", why)
        failure = self._failure()
        if failure is not None:
            self._stop(self.open, "SearchEnded", failure.message)
            return failure
        if self.spec.suspend:
            return self._suspended()
        ended = self._ended()
        if ended is None:
            self.decisions += self.strategy.stops(self.now)
            self._promote(self._target_candidates())
            self._grow()
        else:
            self._stop(self._training(), "SearchEnded", ended[1])
        if self._training() or (ended is None and self._has_more()):
            return self._under_way()
        return self._conclude(ended)

    def _failure(self) -> Verdict | None:
        failures, allowed = count_failures(self.tree), self.spec.budget.failures
        if failures <= allowed:
            return None
        last = max(
            (row for row in self.tree.rows[1:] if row.sequence is not None and _failed(row)),
            key=lambda row: row.sequence or 0,
        )
        status = last.node.status
        return Verdict(
            "Failed",
            "TooManyFailures",
            f"{failures} stages failed, budget.failures allows {allowed}. The last one, "
            f"{last.name}: {status.reason}: {status.message} Raise budget.failures to go on.",
        )

    def _suspended(self) -> Verdict:
        running = [n for n in self.open if n.status.phase in RUNNING]
        if self.spec.suspend_policy == "Stop":
            self._stop(running, "Suspended", "The search is suspended.")
        left = f" {_count(len(running), 'stage')} still running." if running else ""
        return Verdict(
            "Suspended", "Suspended", f"Suspended: nothing new starts.{left} Unset spec.suspend."
        )

    def _ended(self) -> tuple[str, str] | None:
        """Reason and words where training ends before the stage budget does."""
        target, sign = self.spec.objective.target, self.tree.sign
        if target is not None:
            for name in self.evaluations.promote:
                value = self.evaluations.value(name)
                if value is not None and sign * value >= sign * target:
                    return "TargetReached", f"{name} reached {value:.4g}, the target is {target:g}."
        started, limit = self.search.status.started_at, self.spec.budget.deadline
        if started is not None and limit is not None and self.now >= started + duration(limit):
            return "DeadlineReached", f"The deadline of {limit} is over."
        return None

    def _target_candidates(self) -> list[int]:
        """Stages to promote at once because they seem to have reached the target: each one that
        leads all that were promoted before it."""
        target = self.spec.objective.target
        if target is None:
            return []
        goal = self.tree.sign * target
        tried = [
            float(self.values.mean[i])
            for name in self.evaluations.promote
            if (i := self.tree.find(name)) is not None
        ]
        first = next(iter(ranked(self.tree, self.values)), None)
        if first is None or self.values.mean[first] < max([goal, *tried]):
            return []
        return [first]

    def _grow(self) -> None:
        """Creates stages while slots are free; questions and stored answers take no slot."""
        while len(self.open) < self.spec.strategy.parallelism:
            step = self._proposed()
            if not step:
                break
            for decision in step:
                self._apply(decision)
        for decision in self.strategy.questions():
            self._apply(decision)

    def _apply(self, decision: Proposed) -> None:
        self.decisions.append(decision)
        if isinstance(decision, Create):
            self.tree.add(decision.node)
            self.values.added()
            self.forecast.added(decision.node)
            self.open.append(decision.node)
        elif isinstance(decision, Expand):
            self.tree.store(self.tree.index(decision.node), decision.expansion)

    def _has_more(self) -> bool:
        """Whether a stage would be created if a slot were free, or may be once an answer comes."""
        return bool(self._proposed()) or self.strategy.waiting()

    def _proposed(self) -> Sequence[Proposed]:
        """What the strategy proposes, its stage as long as tokens and hours allow; empty where they
        allow none."""
        found: list[Proposed] = []
        for decision in self.strategy.propose():
            if isinstance(decision, Create):
                node, steps = decision.node, self.forecast.fitting(decision.node)
                if steps == 0:
                    return ()
                if steps < node.spec.steps:
                    decision = Create(node.with_(spec=node.spec.with_(steps=steps)))
            found.append(decision)
        return found

    def _training(self) -> list[StageNode]:
        return [node for node in self.open if node.spec.purpose is Purpose.TRAIN]

    def _under_way(self) -> Verdict:
        running, account = len(self._training()), self.tree.account
        if running:
            doing = f"{_count(running, 'stage')} under way"
        else:
            doing = "Waiting for answers or approvals"
        return Verdict(
            "Running",
            "Searching",
            f"{doing}; {account.spent:.4g} of {account.limit:.4g} stages' worth spent.",
        )

    def _conclude(self, ended: tuple[str, str] | None) -> Verdict:
        """Training is over: choose the winner on the promote split, then confirm it once."""
        chosen = candidates(self.tree, self.values, self.evaluations)
        if not chosen:
            return self._without_winner(ended)
        self._promote(chosen)
        scores = [self.evaluations.promote.get(self.tree.rows[i].name) for i in chosen]
        if not all(node is not None and node.status.phase.final for node in scores):
            return Verdict(
                "Promoting",
                "Promoting",
                f"Scoring {_count(len(chosen), 'candidate')} on the promote split.",
            )
        final = confirmation(self.tree, self.evaluations, chosen)
        if final is None:
            return Verdict(
                "Failed",
                "PromotionFailed",
                "No candidate could be scored on the promote split, so no winner is chosen.",
            )
        wanted = final.nodes(self.tree)
        self._evaluate(wanted)
        known = self.evaluations.held_out.get(final.reading, {})
        read = [known.get(node.spec.parent) for node in wanted]
        if not all(node is not None and node.status.phase.final for node in read):
            return Verdict(
                "Confirming",
                "Confirming",
                "Reading the held-out split for the winner, the base model and the best constant.",
            )
        why, words = ended or ("BudgetSpent", "Nothing is left to try within the budget.")
        missing = [n.spec.path for n in read if n is not None and scored(n) is None]
        if missing:
            words += f" The held-out reading of {', '.join(missing)} failed and is missing."
        path = self.tree.rows[final.winner].path
        return Verdict("Complete", why, f"The winner is stage {path}. {words}")

    def _without_winner(self, ended: tuple[str, str] | None) -> Verdict:
        stages = len(self.tree.stages)
        words = f"None of {_count(stages, 'stage')} ended with a value and a checkpoint."
        if not stages:
            why = "the budget is smaller than the strategy's first one."
            words = f"No stage was begun: {ended[1] if ended else why}"
        return Verdict("Failed", "NoStageSucceeded", words)

    def _promote(self, chosen: Sequence[int]) -> None:
        self._evaluate(promote_nodes(self.tree, chosen))

    def _evaluate(self, wanted: Iterable[StageNode]) -> None:
        """Creates those evaluations that do not exist, while slots are free."""
        known = {node.name for node in self.evaluations.nodes}
        for node in wanted:
            if node.name not in known and len(self.open) < self.spec.strategy.parallelism:
                self.decisions.append(Create(node))
                self.open.append(node)

    def _start(self) -> None:
        """Starts what waits while slots are free: what was tried before first, then by path."""
        slots = self.spec.strategy.parallelism
        slots -= sum(node.status.phase in RUNNING for node in self.open)
        waiting = [node for node in self.open if node.status.phase is Phase.PENDING]
        stopping = {d.node for d in self.decisions if isinstance(d, Stop)}
        waiting.sort(key=lambda n: (n.status.attempt_count == 0, _order(n)))
        waiting = [n for n in waiting if n.name not in stopping and not self._held(n)]
        for node in waiting[: max(slots, 0)]:
            self.decisions.append(Start(node.name, node.status.attempt_count + 1))

    def _held(self, node: StageNode) -> bool:
        at = again_at(node)
        return at is not None and self.now < at

    def _stop(self, nodes: Iterable[StageNode], reason: StopReason, message: str) -> None:
        for node in nodes:
            if node.status.stop is None:
                stop = StopDecision(reason=reason, message=message[:1024], at=self.now)
                self.decisions.append(Stop(node.name, stop))


def _failed(row: Row) -> bool:
    return row.kind in (Kind.FAILED, Kind.VOID)


def _order(node: StageNode) -> tuple[list[int], str]:
    path = node.spec.path
    return ([] if path == BASE_PATH else [int(part) for part in path.split("-")], node.name)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
