"""Ten thousand ended stages in memory: their curves stay packed until somebody looks at them.

A plan reads a few curves (the best path's, the expanded stage's); the rest would take 30 KB a
stage as Python objects and takes 3 KB packed.
"""

import zlib
from collections.abc import Mapping
from typing import Any

from pydantic import PrivateAttr

from llmzero.api.curve import Curve
from llmzero.api.stage import StageNode

FIELDS = frozenset(Curve.model_fields)


class PackedCurve(Curve):
    """A curve whose fields are unpacked at each look. Compares by identity."""

    _packed: bytes = PrivateAttr(default=b"")

    @classmethod
    def of(cls, curve: Curve) -> "PackedCurve":
        made = cls.model_construct()
        for name in FIELDS:
            del made.__dict__[name]  # so that __getattr__ is asked
        made._packed = zlib.compress(curve.model_dump_json(by_alias=True).encode(), 1)
        return made

    def unpack(self) -> Curve:
        return Curve.model_validate_json(zlib.decompress(self._packed))

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS:
            return getattr(self.unpack(), name)
        return super().__getattr__(name)  # type: ignore[misc]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        return self.unpack().model_copy(update=update, deep=deep)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def compact(node: StageNode) -> StageNode:
    """The node with its curve packed, if it has ended; otherwise itself."""
    status = node.status
    if not status.phase.final or isinstance(status.curve, PackedCurve) or not status.curve.scores:
        return node
    return node.with_(status=status.with_(curve=PackedCurve.of(status.curve)))
