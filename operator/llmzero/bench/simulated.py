"""Searches in simulated worlds: a task is a family of them."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Final

from llmzero.api.spec import EarlyStopping
from llmzero.bench.methods import method
from llmzero.bench.results import Experiment, Key
from llmzero.simulator import FAMILIES, SimulatedEngine, make_world
from llmzero.simulator.problems import (
    DEFAULT_DEPTH,
    DEFAULT_PARALLELISM,
    DEFAULT_STAGES,
    simulated_search,
)

TOKENS: Final = 30.0
"""About what the stages cost at constant settings, in millions."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search, by what only the simulator knows."""

    score: float
    """Accuracy of the checkpoint that the search chose on the promote split."""
    area: float
    best: float
    base: float
    spent: float
    tokens: float
    """Tokens generated, to train on and to be scored, in millions."""
    saved: float
    """Full stages' worth of steps that early stopping did not run."""
    stopped: int
    stopped_wrongly: int
    """Stopped stages that would have ended within the margin of the leader at equal cost."""


@dataclass(frozen=True)
class Simulated(Experiment):
    kind: ClassVar[str] = "simulated"
    what: ClassVar[str] = (
        "Exact accuracies in simulated worlds. No model was trained: nothing here is a gain of a "
        "model."
    )
    row: ClassVar[type] = Run

    stages: float = DEFAULT_STAGES
    """Budget in full stages' worth of steps."""
    tokens: float = TOKENS
    """Budget in millions of tokens, to train on and to be scored; whichever is spent first."""
    depth: int = DEFAULT_DEPTH
    parallelism: int = DEFAULT_PARALLELISM

    def protocol(self) -> dict[str, Any]:
        return asdict(self)

    def run(self, key: Key) -> Run:
        """The world, its luck and the strategy's draws belong to the seed."""
        family, name, seed = key
        chosen = method(name)
        engine = SimulatedEngine(
            simulated_search(
                chosen.strategy,
                chosen.options,
                seed=seed,
                stages=self.stages,
                tokens=round(self.tokens * 1e6),
                depth=self.depth,
                parallelism=self.parallelism,
                roles=chosen.roles,
                early_stopping=EarlyStopping(enabled=chosen.early_stopping),
                extra=FAMILIES[family].EXTRA if chosen.task_parameters else (),
            ),
            make_world(family, seed),
        )
        trace = engine.run()
        return Run(
            score=round(trace.winner, 4),
            area=round(trace.area, 4),
            best=round(trace.best, 4),
            base=round(trace.base, 4),
            spent=round(engine.search.status.ledger.stages_spent, 2),
            tokens=round((trace.train_tokens + trace.eval_tokens) / 1e6, 2),
            saved=round(trace.saved, 2),
            stopped=trace.stopped,
            stopped_wrongly=trace.stopped_wrongly,
        )
