"""The sections of a manifest that can be read, each by itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

from llmzero.api.parameters import Parameter
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Agent, Budget, Evaluation, StagePlan, Storage, Strategy, Trainer
from llmzero.api.task import ModelSource, Objective, Task

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Parts:
    """Sections; None where one cannot be read (what is wrong with it is known already)."""

    name: str | None = None
    objective: Objective | None = None
    model: ModelSource | None = None
    task: Task | None = None
    parameters: list[tuple[int, Parameter]] = field(default_factory=list)
    """With their places in the list."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    stage: StagePlan | None = None
    evaluation: Evaluation | None = None
    strategy: Strategy | None = None
    budget: Budget | None = None
    agent: Agent | None = None
    trainer: Trainer | None = None
    storage: Storage | None = None
    whole: bool = True
    """Whether every parameter could be read: only then is a field known to be missing."""

    @classmethod
    def of(cls, search: TrainingSearch) -> Self:
        """All sections of a search."""
        spec = search.spec
        return cls(
            name=search.name,
            objective=spec.objective,
            model=spec.model,
            task=spec.task,
            parameters=list(enumerate(spec.parameters)),
            fixed=spec.fixed,
            stage=spec.stage,
            evaluation=spec.evaluation,
            strategy=spec.strategy,
            budget=spec.budget,
            agent=spec.agent,
            trainer=spec.trainer,
            storage=spec.storage,
        )

    @classmethod
    def readable(cls, document: Any) -> Self:
        """What can be read of a document with mistakes in it."""
        spec = _mapping(_mapping(document).get("spec"))
        given = spec.get("parameters")
        listed = given if isinstance(given, list) else []
        parameters = [(i, p) for i, p in enumerate(_read(Parameter, e) for e in listed) if p]
        name = _mapping(_mapping(document).get("metadata")).get("name")
        return cls(
            name=name if isinstance(name, str) else None,
            objective=_read(Objective, spec.get("objective", {})),
            model=_read(ModelSource, spec.get("model")),
            task=_read(Task, spec.get("task")),
            parameters=parameters,
            fixed=_mapping(spec.get("fixed")),
            stage=_read(StagePlan, spec.get("stage", {})),
            evaluation=_read(Evaluation, spec.get("evaluation", {})),
            strategy=_read(Strategy, spec.get("strategy", {})),
            budget=_read(Budget, spec.get("budget", {})),
            agent=_read(Agent, spec.get("agent")),
            trainer=_read(Trainer, spec.get("trainer", {})),
            storage=_read(Storage, spec.get("storage", {})),
            whole=isinstance(given, list) and len(parameters) == len(listed),
        )

    def searched(self, prefix: str) -> Iterator[tuple[str, str, Parameter]]:
        """(path, name without the prefix, parameter) of parameters like ``task.digits``."""
        for i, parameter in self.parameters:
            if parameter.name.startswith(prefix):
                yield f"spec.parameters[{i}]", parameter.name.removeprefix(prefix), parameter

    def scheduled(self) -> Iterator[tuple[str, str, Any]]:
        """(path, name, value) of what the stages of a schedule set."""
        if self.strategy is None or self.strategy.name != "schedule":
            return
        stages = self.strategy.options.get("stages")
        for i, stage in enumerate(stages if isinstance(stages, list) else []):
            for name, value in _mapping(_mapping(stage).get("parameters")).items():
                yield f"spec.strategy.options.stages[{i}].parameters.{name}", name, value


def _read(model: type[M], value: Any) -> M | None:
    try:
        return model.model_validate(value, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
