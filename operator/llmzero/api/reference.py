"""docs/crds.md: every field of the two resources, rendered from their CRDs.

python -m llmzero.api.reference docs/crds.md
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llmzero.api.crds import definitions

Schema = dict[str, Any]

HEAD: Final = """# The resources, field by field

Generated from the CRDs by `make crds`; `kubectl explain trainingsearch.spec` prints the same. Group
`llmzero.dev`, version `v1alpha1`. A field with neither *required* nor a default may be left out.
"""
SUMMED_UP: Final = frozenset({"spec.fixed", "spec.trainer.podTemplate"})
"""Objects of somebody else's fields (GRPOConfig, a pod): one row."""


def render() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for definition in definitions():
        names = definition["spec"]["names"]
        (version,) = definition["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        short = ", ".join(f"`{name}`" for name in names.get("shortNames", []))
        parts.append(f"\n## {names['kind']}\n\n{schema.get('description', '')} Short: {short}.\n")
        for section in ("spec", "status"):
            inside = schema["properties"][section]
            parts.append(f"\n### {names['kind']} {section}\n\n")
            parts.append(
                "| field | type | default | allowed | what it is |\n|---|---|---|---|---|\n"
            )
            parts += [_row(*found) for found in _fields(inside, section)]
        rules = [f"- `{path}`: {_cell(rule['message'])}\n" for path, rule in _rules(schema, "")]
        if rules:
            parts.append("\n### Rules of admission\n\n" + "".join(dict.fromkeys(rules)))
    return "".join(parts)


def _fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", ())
    for name, inside in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, inside, name in required
        if where in SUMMED_UP:
            continue
        yield from _fields(inside, where)
        yield from _fields(inside.get("items", {}), f"{where}[]")
        yield from _fields(inside.get("additionalProperties", {}), f"{where}.*")


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield (path + rule.get("fieldPath", "")).lstrip(".") or "the object", rule
    for name, inside in schema.get("properties", {}).items():
        yield from _rules(inside, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def _row(path: str, schema: Schema, required: bool) -> str:
    default = f"`{_json(schema['default'])}`" if "default" in schema else ""
    cells = [
        f"`{path}`",
        _type(schema),
        "*required*" if required else default,
        _allowed(schema),
        _cell(schema.get("description", "")),
    ]
    return f"| {' | '.join(cells)} |\n"


def _type(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "additionalProperties" in schema:
        return f"map to {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(kind or "any")


def _allowed(schema: Schema) -> str:
    found = [f"`{_json(value)}`" for value in schema.get("enum", ())]
    for name, sign in (("minimum", "≥"), ("maximum", "≤")):
        if name in schema:
            strict = schema.get(f"exclusive{name.capitalize()}")
            found.append(
                f"{sign.replace('≥', '>').replace('≤', '<') if strict else sign} {schema[name]}"
            )
    for name, words in (
        ("minLength", "at least {} characters"),
        ("maxLength", "at most {} characters"),
        ("minItems", "at least {}"),
        ("maxItems", "at most {}"),
        ("maxProperties", "at most {}"),
    ):
        if name in schema:
            found.append(words.format(schema[name]))
    if "pattern" in schema:
        found.append(f"`{_cell(schema['pattern'])}`")
    return ", ".join(found)


def _json(value: Any) -> str:
    return _cell(json.dumps(value))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
