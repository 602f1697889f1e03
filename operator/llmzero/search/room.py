"""A full volume is a person's to mend: its stages wait for room, longer each time, and go on."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from llmzero.api.contract import (
    STORAGE_FULL,
    AttemptRecord,
    CheckpointRecord,
    Record,
    ResultRecord,
    Volume,
)
from llmzero.api.stage import Phase, StageNode

FIRST_WAIT = timedelta(seconds=60)
LONGEST_WAIT = timedelta(seconds=600)


def again_at(node: StageNode) -> datetime | None:
    """When a stage that found no room is tried again; None where nothing has to be waited for."""
    status = node.status
    if status.phase is not Phase.PENDING or status.reason != STORAGE_FULL or not status.attempts:
        return None
    ended = status.attempts[-1].finished_at
    if ended is None:
        return None
    wait = FIRST_WAIT * (1 << min(max(status.lost_attempts - 1, 0), 8))
    return ended + min(wait, LONGEST_WAIT)


def no_room(node: StageNode) -> bool:
    """Whether the last attempt that ended found the volume full, and none was heard since."""
    status = node.status
    ended = [a for a in status.attempts if a.finished_at is not None]
    if status.phase.final or not ended:
        return False
    return ended[-1].reason == STORAGE_FULL and status.last_heard_at is None


def told(record: Record) -> Volume | None:
    """The room that a record tells of."""
    if not isinstance(record, AttemptRecord | CheckpointRecord | ResultRecord):
        return None
    space, at = record.volume, datetime.fromtimestamp(record.time, UTC)
    return Volume(at=at, **space.model_dump()) if space is not None else None


def latest(volumes: Iterable[Volume | None]) -> Volume | None:
    return max((v for v in volumes if v is not None), key=lambda v: v.at, default=None)
