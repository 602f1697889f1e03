"""The CEL rules of the CustomResourceDefinitions, by the path of the object that they hold for."""

from llmzero.api.catalog import BUILTIN_MODELS, MODULE_FUNCTION, REWARDS, TASKS
from llmzero.api.grpo import FIELDS, owned
from llmzero.api.grpo_values import ALLOWED
from llmzero.api.names import SEARCH_NAME_LIMIT
from llmzero.api.validation.sections import KEPT_CHECKPOINTS

Rule = dict[str, str]


def rule(rule: str, message: str, path: str | None = None) -> Rule:
    """One entry of ``x-kubernetes-validations``; ``path``: the field that a refusal names."""
    made = {"rule": rule, "message": message}
    if path is not None:
        made["fieldPath"] = path
    return made


def _frozen(field: str) -> Rule:
    return rule(
        f"!has(oldSelf.{field}) && !has(self.{field}) || has(oldSelf.{field}) && "
        f"has(self.{field}) && self.{field} == oldSelf.{field}",
        f"spec.{field} cannot change: its stages would not belong to it; make a new TrainingSearch",
        f".{field}",
    )


_STRATEGY_FROZEN = ("name", "options", "maxDepth", "candidates", "seed", "earlyStopping")
_TRAINER_FROZEN = ("image", "imagePullPolicy", "queueName", "priorityClassName", "podTemplate")


def _budget(field: str, *spent: str) -> Rule:
    """A status write after an overshoot passes: the first half does not look at the status."""
    new, old = f"self.spec.budget.{field}", f"oldSelf.spec.budget.{field}"
    ledger = [f"self.status.ledger.{name}" for name in spent]
    used = " && ".join(f"has({f})" for f in ("self.status", "self.status.ledger", *ledger))
    where = " and ".join(f"status.ledger.{name}" for name in spent)
    return rule(
        f"!has({new}) || has({old}) && {new} >= {old} || !({used}) || {new} >= "
        + " + ".join(ledger),
        f"spec.budget.{field} cannot fall below what is spent ({where}): raise it, "
        "or suspend or delete the search",
        f".spec.budget.{field}",
    )


def _named(field: str, names: list[str]) -> Rule:
    return rule(
        f"self.{field} in {names!r} || self.{field}.matches('{MODULE_FUNCTION.pattern}')",
        f"{field}: there is {', '.join(names)}, or module:function",
        f".{field}",
    )


def _bounds() -> list[Rule]:
    """What a searched field's range may hold: wrong values that TRL notices late or never."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, allowed in ALLOWED.items():
        if FIELDS[name] not in ("int", "float"):
            continue
        low = [f"self.min >= {float(allowed.least)}"] if allowed.least is not None else []
        low += [f"self.min > {float(allowed.above)}"] if allowed.above is not None else []
        high = [f"self.max <= {float(allowed.most)}"] if allowed.most is not None else []
        high += [f"self.max < {float(allowed.below)}"] if allowed.below is not None else []
        for test in (*low, *high):
            groups.setdefault((test, allowed.words()), []).append(name)
    return [
        rule(
            f"!(self.name in {names!r}) || !has({test.split()[0]}) || {test}",
            f"{test.split()[0].removeprefix('self.')}: {words} is allowed for {', '.join(names)}",
            f".{test.split()[0].removeprefix('self.')}",
        )
        for (test, words), names in groups.items()
    ]


RULES: dict[str, list[Rule]] = {
    "TrainingSearch": [
        rule(
            f"self.metadata.name.size() <= {SEARCH_NAME_LIMIT}",
            f"metadata.name: at most {SEARCH_NAME_LIMIT} characters fit, so that the names of its "
            "stages fit into 63: choose a shorter name",
        ),
        rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name: lower-case letters, digits and dashes are allowed (no dots: it becomes "
            "part of Job names and labels)",
        ),
        _budget("stages", "stagesSpent"),
        _budget("gpuHours", "gpuHours"),
        _budget("tokens", "trainTokens", "evalTokens"),
        _budget("failures", "failures"),
        _budget("agentTokens", "agentTokens"),
        _budget("agentDollars", "agentDollars"),
    ],
    "SearchSpec": [
        *(
            _frozen(f)
            for f in ("objective", "model", "task", "parameters", "fixed", "stage", "evaluation")
        ),
        _frozen("storage"),
        rule(
            "self.objective.metric in ['eval/accuracy', 'eval/reward'] || "
            "self.task.rewards.exists(r, self.objective.metric == 'eval/' + r.name || "
            "r.name.endsWith(':' + self.objective.metric.substring(5))) || "
            "self.objective.metric.matches('-[0-9]+$')",
            "objective.metric: eval/accuracy, eval/reward or eval/<name of a reward in "
            "task.rewards> is needed",
            ".objective.metric",
        ),
    ],
    "Objective": [
        rule(
            "self.metric != 'eval/accuracy' || !has(self.target) || "
            "self.target >= 0.0 && self.target <= 1.0",
            "target: eval/accuracy lies between 0 and 1 (0.95 is 95 %)",
            ".target",
        )
    ],
    "Task": [_named("name", list(TASKS))],
    "Reward": [_named("name", list(REWARDS))],
    "ModelSource": [
        rule(
            "has(self.path) != has(self.builtin)",
            "exactly one of path and builtin is needed: a directory or hub name, or a model that "
            "the trainer makes itself",
        ),
        rule(
            f"!has(self.builtin) || self.builtin in {list(BUILTIN_MODELS)!r}",
            f"builtin: there is {', '.join(BUILTIN_MODELS)}",
            ".builtin",
        ),
    ],
    "Parameter": [
        rule(
            "self.type == 'categorical' ? !has(self.min) && !has(self.max) : "
            "has(self.min) && has(self.max)",
            "type float and int need min and max, type categorical needs choices and takes neither",
        ),
        rule(
            "!has(self.min) || !has(self.max) || self.min < self.max",
            "min must be below max",
            ".min",
        ),
        rule(
            "self.scale != 'log' || !has(self.min) || self.min > 0.0",
            "scale log allows only values above 0: raise min",
            ".min",
        ),
        rule(
            f"self.name.startsWith('task.') || self.name.startsWith('rewards.') || "
            f"self.name in {sorted(f for f in FIELDS if not owned(f))!r}",
            "this name cannot be searched: it is no field of GRPOConfig, or one that the trainer "
            "sets itself (spec.stage, spec.strategy.seed, spec.model.dtype); `llmzero validate` "
            "tells which",
            ".name",
        ),
        *_bounds(),
    ],
    "StagePlan": [
        rule(
            f"self.{field} <= self.steps",
            f"{field} must be at most steps",
            f".{field}",
        )
        for field in ("evalEvery", "checkpointEvery")
    ]
    + [
        rule(
            f"self.checkpointEvery * {KEPT_CHECKPOINTS} >= self.steps",
            f"a stage has at most {KEPT_CHECKPOINTS} checkpoints: raise checkpointEvery",
            ".checkpointEvery",
        )
    ],
    "Strategy": [_frozen(f) for f in _STRATEGY_FROZEN],
    "Trainer": [_frozen(f) for f in _TRAINER_FROZEN],
    "StageNode": [
        rule(
            "self.spec == oldSelf.spec",
            "spec is immutable: a stage's result belongs to its settings; the operator makes a "
            "new StageNode for other ones",
            ".spec",
        )
    ],
}
