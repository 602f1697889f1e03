"""Reading manifests as kubectl does: YAML 1.2 numbers, no duplicate keys, bounded input."""

import json
import math
import re
from collections.abc import Hashable
from typing import Any, BinaryIO

import yaml

MANIFEST_BYTES = 1024 * 1024
DEPTH = 64

# What sigs.k8s.io/yaml reads as a number: PyYAML takes 1e-7 for a string.
_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+([eE][-+]?[0-9]+)?|(0|[1-9][0-9]*)(\.[0-9]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+))$"
)
_INT = re.compile(r"^[-+]?(0|[1-9][0-9]*)$")


class ManifestError(ValueError):
    """The text is no manifest; the message names line and column where it can."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with the core schema's numbers, without aliases, dates, or twice-given keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise ManifestError(f"{_at(event.start_mark)}: aliases (*name) are not read here")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise ManifestError(f"{_at(key_node.start_mark)}: key {key!r} is not text")
            if key in seen:
                raise ManifestError(f"{_at(key_node.start_mark)}: key {key!r} stands twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1, or our loader, would read as something else (``0E0``)."""


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    value = float(node.value)
    if not math.isfinite(value):
        raise ManifestError(f"{_at(node.start_mark)}: {node.value} is not a finite number")
    return value


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value)


_Loader.yaml_implicit_resolvers = {
    key: [(tag, rule) for tag, rule in found if tag.rpartition(":")[2] in ("null", "bool", "merge")]
    for key, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def _at(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "manifest"


def read_bounded(stream: BinaryIO) -> str:
    """The text of a stream, read no further than a manifest may be long. Raises ManifestError,
    UnicodeDecodeError, OSError."""
    data = stream.read(MANIFEST_BYTES + 1)
    if len(data) > MANIFEST_BYTES:
        raise _too_large()
    return data.decode("utf-8")


def _too_large() -> ManifestError:
    return ManifestError(f"too large: no manifest may be larger than {MANIFEST_BYTES} bytes")


def read_documents(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML or JSON text. Raises ManifestError.

    At most 1 MiB and 64 levels; aliases are refused (an alias bomb is 9 lines of YAML).
    """
    if len(text.encode()) > MANIFEST_BYTES:
        raise _too_large()
    try:
        found = [d for d in yaml.load_all(text, Loader=_Loader) if d is not None]
    except yaml.MarkedYAMLError as error:
        problem = error.problem or "not YAML"
        raise ManifestError(f"{_at(error.problem_mark)}: {problem}") from None
    except yaml.YAMLError as error:
        raise ManifestError(f"manifest: {error}") from None
    except RecursionError:
        raise ManifestError("manifest: nested too deeply") from None
    for document in found:
        if not isinstance(document, dict):
            raise ManifestError(f"manifest: found {type(document).__name__}, a mapping is needed")
        if _depth(document) > DEPTH:
            raise ManifestError(f"manifest: more than {DEPTH} levels deep")
    return found


def read_search(text: str) -> dict[str, Any]:
    """The one TrainingSearch in the text (a ``v1`` List is looked into). Raises ManifestError."""
    documents = read_documents(text)
    items = [
        item
        for document in documents
        for item in (document.get("items") or [] if document.get("kind") == "List" else [document])
    ]
    searches = [i for i in items if isinstance(i, dict) and i.get("kind") == "TrainingSearch"]
    if len(searches) == 1:
        return searches[0]
    kinds = sorted({str(i.get("kind")) for i in items if isinstance(i, dict)}) or ["nothing"]
    raise ManifestError(
        f"manifest: one object of kind TrainingSearch is needed, found {len(searches)} "
        f"among {', '.join(kinds)}"
    )


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        found, depth = stack.pop()
        deepest = max(deepest, depth)
        below = found.values() if isinstance(found, dict) else found
        if isinstance(found, dict | list) and depth <= DEPTH:
            stack.extend((child, depth + 1) for child in below)
    return deepest


def to_yaml(data: Any) -> str:
    """YAML of JSON data, in the order given."""
    return yaml.dump(json.loads(json.dumps(data)), Dumper=_Dumper, sort_keys=False)
