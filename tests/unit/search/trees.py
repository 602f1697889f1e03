"""Hand-made trees for golden tests: stages with values, as if a trainer had ended them."""

from datetime import UTC, datetime

from llmzero.api.curve import Curve, Score
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import (
    Outcome,
    Phase,
    Provenance,
    Result,
    StageNode,
    StageStatus,
)
from llmzero.search.nodes import train_node
from llmzero.search.tree import Tree

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def look(step: int, value: float, error: float = 0.02, digits: str = "") -> Score:
    questions = len(digits) or 100
    return Score(
        step=step, value=value, standard_error=error, questions=questions, per_question=digits
    )


class Grower:
    """Builds a tree stage by stage: ``grow("0-1", 0.5)``."""

    def __init__(self, search: TrainingSearch) -> None:
        self.search = search
        self.nodes: dict[str, StageNode] = {}
        self.sequence = 0

    def tree(self) -> Tree:
        return Tree(self.search, list(self.nodes.values()))

    def node(self, path: str) -> StageNode:
        return next(n for n in self.nodes.values() if n.spec.path == path)

    def grow(
        self,
        path: str,
        value: float | None = None,
        *,
        error: float = 0.0,
        steps: int = 100,
        ran: int | None = None,
        start_step: int | None = None,
        outcome: Outcome | None = Outcome.SUCCEEDED,
        phase: Phase | None = None,
        changes: dict | None = None,
        scores: list[Score] | None = None,
        checkpoints: list[int] | None = None,
        features: dict[str, float] | None = None,
        proposer: str = "rules",
        segment: str = "tree",
        carry: bool | None = None,
        replica: int = 0,
        **status: object,
    ) -> StageNode:
        up, _, number = path.rpartition("-")
        parent = self.node(up) if up else None
        before = (
            parent.spec.parameters
            if parent
            else {p.name: p.clip(p.initial) for p in self.search.spec.parameters}
        )
        carry = (not changes and parent is not None) if carry is None else carry
        node = train_node(
            self.search,
            parent=parent,
            number=int(number),
            steps=steps,
            parameters={**before, **(changes or {})},
            provenance=Provenance(proposer=proposer),
            segment=segment,  # type: ignore[arg-type]
            start_step=(start_step or (parent.spec.steps if parent else None)),
            carry_optimizer=carry,
            carry_reference=carry,
            replica=replica,
        )
        ran = steps if ran is None else ran
        if phase is None:
            phase = {
                Outcome.SUCCEEDED: Phase.SUCCEEDED,
                Outcome.EARLY_STOPPED: Phase.STOPPED,
                Outcome.INTERRUPTED: Phase.STOPPED,
                None: Phase.RUNNING,
            }.get(outcome, Phase.FAILED)
        if scores is None and value is not None:
            scores = [look(ran, value, error)]
        result = None
        if scores and phase.final:
            last = scores[-1]
            result = Result(
                value=last.value,
                standard_error=last.standard_error,
                questions=last.questions,
                step=last.step,
            )
        if phase.final:
            self.sequence += 1
        node = node.with_(
            status=StageStatus(
                phase=phase,
                outcome=outcome if phase.final else None,
                sequence=self.sequence if phase.final else None,
                step=ran,
                curve=Curve(scores=scores or []),
                result=result,
                checkpoints=([ran] if ran else []) if checkpoints is None else checkpoints,
                features=features or {},
                **status,
            )
        )
        self.nodes[node.name] = node
        return node
