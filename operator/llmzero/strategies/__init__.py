"""Who proposes the next stages, one file each, and the plan that both engines call."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Final

from llmzero.api.search import SearchStatus, TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.search import plan as search_plan
from llmzero.search.decisions import Plan
from llmzero.strategies.asha import ASHA
from llmzero.strategies.base import BaseStrategy
from llmzero.strategies.grid import GridSearch
from llmzero.strategies.llmzero import LLMZero
from llmzero.strategies.options import Options, problems
from llmzero.strategies.pbt import PBT
from llmzero.strategies.random_search import RandomSearch
from llmzero.strategies.schedule import Schedule, unfitting
from llmzero.strategies.skill import SkillAgent
from llmzero.strategies.tpe import TPESearch

STRATEGIES: Final[Mapping[str, type[BaseStrategy]]] = {
    "llmzero": LLMZero,
    "random": RandomSearch,
    "grid": GridSearch,
    "tpe": TPESearch,
    "asha": ASHA,
    "pbt": PBT,
    "schedule": Schedule,
    "skill": SkillAgent,
}


def plan(search: TrainingSearch, nodes: Sequence[StageNode], now: datetime) -> Plan:
    """Everything that follows from the stored objects of one search, by its own strategy.

    Pure; ``nodes`` are all StageNodes of the search in any order, ``now`` is aware. Raises
    ValueError where the strategy or one of its options is unknown.
    """
    name, options = search.spec.strategy.name, search.spec.strategy.options
    found = check_options(name, options)
    if found:
        raise ValueError("; ".join(found))
    return search_plan.plan(search, nodes, now, STRATEGIES[name])


def pays_nothing(search: TrainingSearch) -> bool:
    """Whether the budget is below what the strategy's first stage costs, so that the search would
    fail without a stage. The options are valid."""
    fresh = search.with_(spec=search.spec.with_(suspend=False), status=SearchStatus())
    return plan(fresh, [], datetime.now(UTC)).status.phase == "Failed"


def check_options(name: str, options: Mapping[str, Any]) -> list[str]:
    """Every mistake in a strategy's name or options, as sentences; empty where there is none."""
    strategy = STRATEGIES.get(name)
    if strategy is None:
        allowed = ", ".join(sorted(STRATEGIES))
        return [f"strategy.name: found {name!r}, allowed are {allowed}"]
    if strategy is TPESearch and find_spec("optuna") is None:
        return ["strategy.name: tpe needs Optuna, which is not installed: pip install llmzero[tpe]"]
    found = problems(options, strategy.OPTIONS, name)
    wrong = strategy.together(options)
    return [*found, f"strategy.options: {wrong}"] if wrong else found


__all__ = ["STRATEGIES", "Options", "check_options", "pays_nothing", "plan", "unfitting"]
