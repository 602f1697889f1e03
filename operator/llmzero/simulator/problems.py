"""Searches to run in simulated worlds: one space, one protocol, any strategy, equal cost."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmzero.api.base import ObjectMeta
from llmzero.api.parameters import Parameter, Role
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget, EarlyStopping, SearchSpec, StagePlan, Strategy
from llmzero.api.task import ModelSource, Splits, Task

SPACE: Final = (
    Parameter(
        name="learning_rate",
        role=Role.REGULARIZATION,
        min=3e-6,
        max=1e-3,
        scale="log",
        initial=2e-5,
    ),
    Parameter(name="temperature", role=Role.REGULARIZATION, min=0.4, max=1.5, initial=1.0),
    Parameter(name="beta", role=Role.REGULARIZATION, min=0, max=0.2, initial=0.0),
    Parameter(
        name="max_completion_length",
        role=Role.CAPACITY,
        type="int",
        min=128,
        max=4096,
        scale="log",
        initial=384,
    ),
    Parameter(
        name="num_generations",
        role=Role.CAPACITY,
        type="categorical",
        choices=[4, 8, 16],
        initial=8,
    ),
)
DEFAULT_STAGES: Final = 24.0
DEFAULT_DEPTH: Final = 6
DEFAULT_PARALLELISM: Final = 2


def simulated_search(
    strategy: str,
    options: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    stages: float = DEFAULT_STAGES,
    tokens: int | None = None,
    depth: int = DEFAULT_DEPTH,
    parallelism: int = DEFAULT_PARALLELISM,
    roles: bool = True,
    early_stopping: EarlyStopping | None = None,
    extra: Sequence[Parameter] = (),
) -> TrainingSearch:
    """A search of so many stages' worth of steps, of 100 steps each with 4 evaluations. Without
    ``roles`` all parameters are free; ``extra`` are those of the family's own."""
    return TrainingSearch(
        metadata=ObjectMeta(name="simulated", uid=f"simulated-{strategy}-{seed}"),
        spec=SearchSpec(
            # A name is needed; no world reads it.
            model=ModelSource(builtin="scratchpad-addition"),
            task=Task(
                name="scratchpad-addition",
                splits=Splits(train=1000, search=200, promote=400, held_out=1000),
            ),
            parameters=[p if roles else p.with_(role=Role.FREE) for p in (*SPACE, *extra)],
            stage=StagePlan(steps=100, eval_every=25, checkpoint_every=25),
            strategy=Strategy(
                name=strategy,
                options=dict(options or {}),
                parallelism=parallelism,
                max_depth=depth,
                seed=seed,
                early_stopping=early_stopping or EarlyStopping(),
            ),
            budget=Budget(stages=stages, tokens=tokens, failures=1000),
        ),
    )
