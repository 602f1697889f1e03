"""Following the pods of running stages through the API server, and reading them to the end."""

import asyncio
import time
from collections.abc import Callable

from llmzero.api.contract import LINE_BYTES, parse_record
from llmzero.controller.kube import ApiError, Kube
from llmzero.controller.pods import CONTAINER
from llmzero.controller.store import Key
from llmzero.search.lifecycle import StageObserver

SILENT_SECONDS = 120.0
"""A follow that said nothing for so long is opened anew: a cut connection may go unnoticed."""
REOPEN_SECONDS = 2.0


class Followers:
    """One observer a stage and at most one follow of its newest pod."""

    def __init__(self, kube: Kube, mark: Callable[[Key], None]) -> None:
        self._kube = kube
        self._mark = mark
        self._observers: dict[Key, StageObserver] = {}
        self._tasks: dict[Key, tuple[str, asyncio.Task[None]]] = {}
        self._news: dict[Key, bool] = {}

    def observer(self, stage: Key) -> StageObserver:
        return self._observers.setdefault(stage, StageObserver())

    def news(self, stage: Key) -> bool:
        """Whether an evaluation, a checkpoint or the like came since the last call."""
        return self._news.pop(stage, False)

    def follow(self, stage: Key, search: Key, pod: str) -> None:
        """See to it that this pod is followed."""
        known = self._tasks.get(stage)
        if known is not None and known[0] == pod and not known[1].done():
            return
        if known is not None:
            known[1].cancel()
        task = asyncio.create_task(self._follow(stage, search, pod), name=f"log {pod}")
        self._tasks[stage] = (pod, task)

    def forget(self, stage: Key) -> None:
        """The stage is final."""
        known = self._tasks.pop(stage, None)
        if known is not None:
            known[1].cancel()
        self._observers.pop(stage, None)
        self._news.pop(stage, None)

    def close(self) -> None:
        for _, task in self._tasks.values():
            task.cancel()

    async def read(self, stage: Key, pod: str) -> bool:
        """The whole log as it stands; False where it cannot be read (a drained node)."""
        observer = self.observer(stage)
        try:
            async for line in self._kube.log(stage[0], pod, CONTAINER):
                _take(observer, line)
        except ApiError as error:
            if error.passing:
                raise
            return False
        return True

    async def _follow(self, stage: Key, search: Key, pod: str) -> None:
        observer = self.observer(stage)
        while True:
            try:
                lines = self._kube.follow(stage[0], pod, CONTAINER)
                heard = time.monotonic()
                while True:
                    line = await asyncio.wait_for(anext(lines, None), SILENT_SECONDS)
                    if line is None:
                        break
                    kind = _take(observer, line)
                    if kind and kind != "step":
                        self._news[stage] = True
                        self._mark(search)
                    elif kind and time.monotonic() - heard > 10:
                        heard = time.monotonic()
                        self._mark(search)
                self._mark(search)
            except (ApiError, TimeoutError):
                pass
            await asyncio.sleep(REOPEN_SECONDS)


def _take(observer: StageObserver, line: bytes) -> str:
    """The kind of a new record; empty for what is none or was known."""
    if not line or len(line) > LINE_BYTES:
        return ""
    try:
        record = parse_record(line)
    except ValueError:
        return ""
    return record.type if observer.take(record) else ""
