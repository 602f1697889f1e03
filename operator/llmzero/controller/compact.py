"""Ten thousand ended stages in memory: what is seldom read stays packed until somebody looks.

A plan reads a few curves and answers (the best path's, the expanded stage's). The rest would take
50 KB a stage as Python objects; packed it takes a tenth.
"""

import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, PrivateAttr

from llmzero.api.stage import Receipt, StageNode, StageStatus

SELDOM = frozenset({"attempts", "curve", "samples", "expansion"})
_GIVEN: set[str] = set()


@lru_cache(maxsize=64)
def _unpacked(packed: bytes) -> StageStatus:
    return StageStatus.model_validate_json(zlib.decompress(packed))


class PackedStatus(StageStatus):
    """A status whose seldom read fields are unpacked when they are read."""

    _packed: bytes = PrivateAttr(default=b"")
    _receipts: tuple[Receipt, ...] = PrivateAttr(default=())
    _undecided: bool = PrivateAttr(default=False)

    @classmethod
    def of(cls, status: StageStatus) -> "PackedStatus":
        # By hand: model_construct copies the defaults of fields that are not given.
        made = cls.__new__(cls)
        often = {k: v for k, v in status.__dict__.items() if k not in SELDOM}
        object.__setattr__(made, "__dict__", often)
        object.__setattr__(made, "__pydantic_fields_set__", _GIVEN)
        object.__setattr__(made, "__pydantic_extra__", None)
        made.model_post_init(None)  # private attributes
        text = status.model_dump_json(by_alias=True, include=set(SELDOM), exclude_none=True)
        made._packed = zlib.compress(text.encode(), 1)
        made._receipts = status.receipts
        made._undecided = status.undecided
        return made

    @property
    def receipts(self) -> tuple[Receipt, ...]:
        return self._receipts

    @property
    def undecided(self) -> bool:
        return self._undecided

    def unpack(self) -> StageStatus:
        """An ordinary status of the same content."""
        seldom = {name: getattr(self, name) for name in SELDOM}
        return StageStatus.model_construct(**self.__dict__, **seldom)

    def __getattr__(self, name: str) -> Any:
        if name in SELDOM:
            return getattr(_unpacked(self._packed), name)
        return super().__getattr__(name)  # type: ignore[misc]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Any:
        return self.unpack().model_copy(update=update, deep=deep)

    def model_dump(self, **how: Any) -> dict[str, Any]:
        return self.unpack().model_dump(**how)

    def model_dump_json(self, **how: Any) -> str:
        return self.unpack().model_dump_json(**how)

    def __eq__(self, other: object) -> bool:
        mine, theirs = (s.unpack() if isinstance(s, PackedStatus) else s for s in (self, other))
        return mine == theirs

    __hash__ = object.__hash__


def compact(node: StageNode) -> StageNode:
    """The node with its status packed, if it has ended; otherwise itself."""
    if not node.status.phase.final or isinstance(node.status, PackedStatus):
        return node
    packed = node.with_(status=PackedStatus.of(node.status))
    _share(packed)
    return packed


def _share(model: BaseModel) -> None:
    """One set of given fields for all objects: pydantic keeps one of up to 2 KB each, unused."""
    object.__setattr__(model, "__pydantic_fields_set__", _GIVEN)
    for value in model.__dict__.values():
        if isinstance(value, BaseModel):
            _share(value)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, BaseModel):
                    _share(item)
