"""The CustomResourceDefinitions, rendered from the pydantic models.

    python -m llmzero.api.crds crds

Schemas are structural: references inlined, unions of scalars left untyped (CEL cannot see those:
the operator judges them). The whole of a CRD stays below 262,144 bytes, so that a client-side
``kubectl apply`` can store it in an annotation.
"""

import sys
import types
import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from llmzero.api.base import GROUP, VERSION
from llmzero.api.catalog import BUILTIN_MODELS, MODULE_FUNCTION, REWARDS, TASKS
from llmzero.api.grpo import FIELDS, GONE, NULLABLE, owned
from llmzero.api.grpo_values import ALLOWED, TRUTH_VALUES
from llmzero.api.names import SEARCH_NAME_LIMIT
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SearchSpec
from llmzero.api.stage import StageNode
from llmzero.api.validation.sections import KEPT_CHECKPOINTS

UNTYPED: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
_KEPT = (
    "type",
    "description",
    "format",
    "pattern",
    "enum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "minimum",
    "maximum",
    "default",
    "required",
)

Rule = dict[str, str]


def _rule(rule: str, message: str, path: str | None = None) -> Rule:
    made = {"rule": rule, "message": message}
    if path is not None:
        made["fieldPath"] = path
    return made


def _frozen(field: str) -> Rule:
    return _rule(
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
    return _rule(
        f"!has({new}) || has({old}) && {new} >= {old} || !({used}) || {new} >= "
        + " + ".join(ledger),
        f"spec.budget.{field} cannot fall below what is spent ({where}): raise it, "
        "or suspend or delete the search",
        f".spec.budget.{field}",
    )


def _named(field: str, names: list[str]) -> Rule:
    return _rule(
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
        _rule(
            f"!(self.name in {names!r}) || !has({test.split()[0]}) || {test}",
            f"{test.split()[0].removeprefix('self.')}: {words} is allowed for {', '.join(names)}",
            f".{test.split()[0].removeprefix('self.')}",
        )
        for (test, words), names in groups.items()
    ]


RULES: dict[str, list[Rule]] = {
    "TrainingSearch": [
        _rule(
            f"self.metadata.name.size() <= {SEARCH_NAME_LIMIT}",
            f"metadata.name: at most {SEARCH_NAME_LIMIT} characters fit, so that the names of its "
            "stages fit into 63: choose a shorter name",
        ),
        _rule(
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
        _rule(
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
        _rule(
            "self.metric != 'eval/accuracy' || !has(self.target) || "
            "self.target >= 0.0 && self.target <= 1.0",
            "target: eval/accuracy lies between 0 and 1 (0.95 is 95 %)",
            ".target",
        )
    ],
    "Task": [_named("name", list(TASKS))],
    "Reward": [_named("name", list(REWARDS))],
    "ModelSource": [
        _rule(
            "has(self.path) != has(self.builtin)",
            "exactly one of path and builtin is needed: a directory or hub name, or a model that "
            "the trainer makes itself",
        ),
        _rule(
            f"!has(self.builtin) || self.builtin in {list(BUILTIN_MODELS)!r}",
            f"builtin: there is {', '.join(BUILTIN_MODELS)}",
            ".builtin",
        ),
    ],
    "Parameter": [
        _rule(
            "self.type == 'categorical' ? !has(self.min) && !has(self.max) : "
            "has(self.min) && has(self.max)",
            "type float and int need min and max, type categorical needs choices and takes neither",
        ),
        _rule(
            "!has(self.min) || !has(self.max) || self.min < self.max",
            "min must be below max",
            ".min",
        ),
        _rule(
            "self.scale != 'log' || !has(self.min) || self.min > 0.0",
            "scale log allows only values above 0: raise min",
            ".min",
        ),
        _rule(
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
        _rule(
            f"self.{field} <= self.steps",
            f"{field} must be at most steps",
            f".{field}",
        )
        for field in ("evalEvery", "checkpointEvery")
    ]
    + [
        _rule(
            f"self.checkpointEvery * {KEPT_CHECKPOINTS} >= self.steps",
            f"a stage has at most {KEPT_CHECKPOINTS} checkpoints: raise checkpointEvery",
            ".checkpointEvery",
        )
    ],
    "Strategy": [_frozen(f) for f in _STRATEGY_FROZEN],
    "Trainer": [_frozen(f) for f in _TRAINER_FROZEN],
    "StageNode": [
        _rule(
            "self.spec == oldSelf.spec",
            "spec is immutable: a stage's result belongs to its settings; the operator makes a "
            "new StageNode for other ones",
            ".spec",
        )
    ],
}

_LIST_KEYS = {"conditions": "type", "parameters": "name", "rewards": "name"}


def _column(name: str, kind: str, path: str, description: str, priority: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "type": kind,
        "jsonPath": path,
        "description": description,
    }
    return {**made, "priority": priority} if priority else made


SEARCH_COLUMNS = [
    _column("Phase", "string", ".status.phase", "Where the search stands."),
    _column(
        "Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Accepted and running."
    ),
    _column("Best", "number", ".status.best.value", "Best value so far, or the winner's."),
    _column("Stage", "string", ".status.best.path", "Path of the best stage."),
    _column("Spent", "number", ".status.ledger.stagesSpent", "Full stages' worth of steps."),
    _column("Budget", "number", ".spec.budget.stages", "Full stages' worth of steps."),
    _column("Running", "integer", ".status.counts.running", "Stages that run."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since it was created."),
    _column("Message", "string", ".status.message", "In plain words.", 1),
]
STAGE_COLUMNS = [
    _column("Tree", "string", ".status.tree", "Path, indented by depth."),
    _column("Purpose", "string", ".spec.purpose", "Train, Promote or HeldOut."),
    _column("Phase", "string", ".status.phase", "Where the stage stands."),
    _column("Step", "integer", ".status.step", "Last step reported."),
    _column("Value", "number", ".status.result.value", "The objective at its end."),
    _column("Changed", "string", ".status.changed", "What differs from its parent."),
    _column("Age", "date", ".metadata.creationTimestamp", "Time since it was created."),
    _column("Error", "number", ".status.result.standardError", "Standard error of the value.", 1),
    _column("Outcome", "string", ".status.outcome", "How it ended.", 1),
    _column("Message", "string", ".status.message", "In plain words.", 1),
]


def crd(
    model: type[BaseModel], plural: str, short: str, columns: list[dict[str, Any]]
) -> dict[str, Any]:
    """One CustomResourceDefinition with its schema, rules, columns and status subresource."""
    kind = model.__name__
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["llmzero"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": _root(model)},
                }
            ],
        },
    }


def definitions() -> list[dict[str, Any]]:
    """Both CRDs."""
    return [
        crd(TrainingSearch, "trainingsearches", "ts", SEARCH_COLUMNS),
        crd(StageNode, "stagenodes", "sn", STAGE_COLUMNS),
    ]


def _root(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a kind: metadata stays Kubernetes' own."""
    made = _model(model)
    properties = made["properties"]
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    properties["status"].pop("default", None)
    return {**made, "required": ["spec"]}


def _model(model: type[BaseModel]) -> dict[str, Any]:
    """An object schema of a model, fields by their wire names."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    definitions = raw.get("$defs", {})
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in model.model_fields.items():
        wire = field.alias or name
        if model in (TrainingSearch, StageNode) and wire in ("apiVersion", "kind", "metadata"):
            properties[wire] = {}
            continue
        nested = _nested(field.annotation)
        if model is SearchSpec and wire == "fixed":
            made = _fixed()
        elif nested:
            made = _model(nested)
        else:
            made = _convert(raw["properties"][wire], definitions, field)
        if field.description:
            made["description"] = field.description
        elif nested and nested.__doc__:
            made["description"] = " ".join(nested.__doc__.split("\n\n")[0].split())
        if field.default_factory is not None and nested:
            made["default"] = field.default_factory().dump()  # type: ignore[call-arg]
        elif field.default_factory is not None:
            default = field.default_factory()  # type: ignore[call-arg]
            if isinstance(default, list) and default:
                made["default"] = [d.dump() for d in default]
        if made.get("type") == "array":
            key = _LIST_KEYS.get(wire)
            made["x-kubernetes-list-type"] = "map" if key else "atomic"
            if key:
                made["x-kubernetes-list-map-keys"] = [key]
        if field.is_required():
            required.append(wire)
        properties[wire] = made
    made = {"type": "object", "properties": properties}
    if model.__doc__:
        made["description"] = " ".join(model.__doc__.split("\n\n")[0].split())
    if required:
        made["required"] = required
    rules = RULES.get(model.__name__)
    if rules:
        made["x-kubernetes-validations"] = rules
    return made


_GONE_TYPES = {
    "warmup_ratio": "number",
    "max_prompt_length": "integer",
    "use_liger_loss": "boolean",
    "save_safetensors": "boolean",
}
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


def _fixed() -> dict[str, Any]:
    """GRPOConfig's fields by kind and range. Others are kept: the operator says what is wrong."""
    properties: dict[str, Any] = {}
    rules: list[Rule] = []
    for name in sorted([*FIELDS, *GONE]):
        reason = owned(name) or GONE.get(name)
        kind = FIELDS.get(name, "any")
        if reason is not None:
            # CEL sees typed fields alone.
            kind = _GONE_TYPES.get(name) or _TYPES.get(kind, "")
            properties[name] = {"type": kind} if kind else {"x-kubernetes-int-or-string": True}
            properties[name]["description"] = f"Cannot be set: {reason}."
            rules.append(_rule(f"!has(self.{name})", f"fixed.{name}: {reason}", f".{name}"))
        elif kind == "any" or name in TRUTH_VALUES:
            properties[name] = dict(UNTYPED)
        else:
            properties[name] = _setting(name, _TYPES[kind])
        properties[name].setdefault("description", f"TRL's GRPOConfig.{name}.")
    return {
        "type": "object",
        **UNTYPED,
        "properties": properties,
        "x-kubernetes-validations": rules,
    }


def _setting(name: str, kind: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind}
    if kind == "string":
        made["maxLength"] = 1024
    if name in NULLABLE:
        made["nullable"] = True
    allowed = ALLOWED.get(name)
    if allowed is None:
        return made
    if allowed.choices:
        made["enum"] = list(allowed.choices)
    for bound, value, exclusive in (
        ("minimum", allowed.least, False),
        ("minimum", allowed.above, True),
        ("maximum", allowed.most, False),
        ("maximum", allowed.below, True),
    ):
        if value is not None:
            made[bound] = value
            if exclusive:
                made[f"exclusive{bound.capitalize()}"] = True
    return made


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that holds one model (or None); lists are converted element-wise."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [a for a in typing.get_args(annotation) if a is not type(None)]
        return _nested(members[0]) if len(members) == 1 else None
    return None


def _item(annotation: Any) -> type[BaseModel] | None:
    """The model of a list's elements."""
    if typing.get_origin(annotation) is list:
        return _nested(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            if (found := _item(argument)) is not None:
                return found
    return None


def _convert(
    schema: dict[str, Any], definitions: dict[str, Any], field: Any = None
) -> dict[str, Any]:
    """A JSON schema of a value as a structural one."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    if "anyOf" in schema:
        members = [m for m in schema["anyOf"] if m.get("type") != "null"]
        if len(members) > 1:
            description = schema.get("description")
            return {**UNTYPED, **({"description": description} if description else {})}
        schema = {**members[0], **{k: v for k, v in schema.items() if k != "anyOf"}}
        return _convert(schema, definitions, field)
    made = {
        k: schema[k] for k in _KEPT if k in schema and not (k == "default" and schema[k] is None)
    }
    if "const" in schema:
        made = {**made, "enum": [schema["const"]]}
    for bound in ("minimum", "maximum"):
        exclusive = schema.get(f"exclusive{bound.capitalize()}")
        if exclusive is not None:
            made[bound], made[f"exclusive{bound.capitalize()}"] = exclusive, True
    if schema.get("type") == "array":
        item = _item(field.annotation) if field is not None else None
        made["items"] = _model(item) if item else _convert(schema.get("items", {}), definitions)
        if item and item.__doc__ and not made["items"].get("description"):
            made["items"]["description"] = item.__doc__.split("\n")[0]
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        inner = _convert(values, definitions) if isinstance(values, dict) and values else UNTYPED
        if "type" in inner:
            made["additionalProperties"] = inner
        else:
            made.update(UNTYPED)
    if "type" not in made and not made.get("enum"):
        made.update(UNTYPED)
    return made


def render(folder: Path) -> list[Path]:
    """Writes a YAML file a CRD; returns the files."""
    files = []
    for definition in definitions():
        plural = definition["spec"]["names"]["plural"]
        file = folder / f"{GROUP}_{plural}.yaml"
        text = yaml.safe_dump(definition, sort_keys=False, width=100, allow_unicode=True)
        file.write_text(f"# Generated from operator/llmzero/api by `make crds`.\n{text}")
        files.append(file)
    return files


if __name__ == "__main__":
    for written in render(Path(sys.argv[1])):
        print(written)
