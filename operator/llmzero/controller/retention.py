"""Which Jobs may go: a Job is deleted only after its result is recorded."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from llmzero.api.stage import Outcome, StageNode
from llmzero.controller.jobs import prune_name, report_name
from llmzero.controller.pods import JobView
from llmzero.controller.store import Group

FAILED_KEPT = 3
"""The last few failed ones stay to be looked at."""
BATCH = 16
"""So many are deleted in one request; the selector stays well below a URL's limit."""
LATEST = timedelta(seconds=30)
"""A few wait at most so long for others."""


def disposable(group: Group) -> Iterator[JobView]:
    """Jobs of recorded attempts, and those that only helped."""
    failed = 0
    for job in sorted(group.jobs.values(), key=lambda j: j.version, reverse=True):
        node = group.nodes.get(job.node)
        if node is None or job.deleting or not job.finished:
            continue
        if job.attempt == 0:
            if job.name not in (report_name(node), prune_name(node)) or node.status.phase.final:
                yield job
            continue
        if job.attempt == node.status.attempt_count and not node.status.phase.final:
            continue
        if _succeeded(node, job.attempt):
            yield job
        elif failed < FAILED_KEPT:
            failed += 1
        else:
            yield job


def due(group: Group, waiting: dict[str, datetime], now: datetime) -> list[str]:
    """Names to delete now; ``waiting`` remembers since when each is disposable."""
    names = [job.name for job in disposable(group)]
    for name in [n for n in waiting if n not in names]:
        del waiting[name]
    for name in names:
        waiting.setdefault(name, now)
    if len(names) >= BATCH or any(now - waiting[n] >= LATEST for n in names):
        return names[:BATCH]
    return []


def _succeeded(node: StageNode, attempt: int) -> bool:
    ended = next((a for a in node.status.attempts if a.number == attempt), None)
    return ended is not None and ended.outcome is Outcome.SUCCEEDED
