"""Structural OpenAPI schemas from pydantic models: references inlined, unions of scalars left untyped
(CEL cannot see those: the operator judges them)."""

import types
import typing
from typing import Any

from pydantic import BaseModel

from llmzero.api.crd_rules import RULES, Rule, rule
from llmzero.api.grpo import FIELDS, GONE, NULLABLE, owned
from llmzero.api.grpo_values import ALLOWED, TRUTH_VALUES
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import SearchSpec
from llmzero.api.stage import StageNode

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

_LIST_KEYS = {"conditions": "type", "parameters": "name", "rewards": "name"}


def root(model: type[BaseModel]) -> dict[str, Any]:
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
            rules.append(rule(f"!has(self.{name})", f"fixed.{name}: {reason}", f".{name}"))
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
