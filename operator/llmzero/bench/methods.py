"""Who is compared, by name: a strategy with its options. Ablations change one part of llmzero."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmzero.search.budget import SEGMENTS

OURS: Final = "llmzero"


@dataclass(frozen=True, slots=True)
class Method:
    """``early_stopping``: the curve-against-best rule (ASHA and PBT never use it). ``roles``:
    whether the strategy is told which parameters are capacity and which regularization.
    ``task_parameters``: whether options of the task are searched, in worlds that have any."""

    strategy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    early_stopping: bool = True
    roles: bool = True
    task_parameters: bool = True
    text: str = ""


METHODS: Final[Mapping[str, Method]] = {
    OURS: Method("llmzero", text="tree search, the built-in rules propose"),
    "grid": Method("grid", text="constant runs, three values a dimension, seeded order"),
    "grid-decay": Method(
        "grid", {"decay": [1.0, 0.1]}, text="the same, and a tenfold decay of the learning rate"
    ),
    "random": Method("random", text="constant runs, drawn"),
    "random-stages": Method("random", {"perStage": True}, text="new settings in every stage"),
    "tpe": Method("tpe", text="constant runs, Optuna's TPE"),
    "tpe-stages": Method("tpe", {"perStage": True}, text="schedules, Optuna's TPE"),
    "asha": Method("asha", text="checkpointed rungs, eta 3"),
    "pbt": Method("pbt", text="population based training"),
}
"""Compared by default."""

ABLATIONS: Final[Mapping[str, Method]] = {
    "llmzero-random": Method("llmzero", {"explore": 1.0}, text="random transitions, no rules"),
    "llmzero-rules-only": Method("llmzero", {"explore": 0.0}, text="no random transitions"),
    "llmzero-no-stopping": Method("llmzero", early_stopping=False, text="nothing stopped early"),
    "llmzero-no-tree": Method(
        "llmzero",
        {
            "shares": {
                "screen": SEGMENTS["screen"],
                "tree": 0.0,
                "finish": SEGMENTS["tree"] + SEGMENTS["finish"],
            }
        },
        text="no selection by UCT: the best rungs go on, changed where they are ill",
    ),
    "llmzero-no-roles": Method("llmzero", roles=False, text="all parameters are free"),
    "llmzero-no-task": Method(
        "llmzero", task_parameters=False, text="all of the task's data from the start"
    ),
    "llmzero-last-checkpoint": Method(
        "llmzero", {"branch": "last"}, text="children start at the last checkpoint"
    ),
    "llmzero-no-in-flight": Method(
        "llmzero", {"inFlight": False}, text="running stages do not count in UCT"
    ),
}


def method(name: str) -> Method:
    """A method by name. Raises ValueError for an unknown one."""
    found = METHODS.get(name) or ABLATIONS.get(name)
    if found is None:
        raise ValueError(f"method: found {name!r}, known are {', '.join([*METHODS, *ABLATIONS])}")
    return found
