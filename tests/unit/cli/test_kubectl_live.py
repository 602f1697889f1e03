"""``kubectl llmzero tree -w`` ends when the search does, whatever its watches hear in that moment."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from llmzero.api.search import TrainingSearch
from llmzero.kubectl.live import live
from llmzero.kubectl.searches import Seen
from tests.fakes.simulated_search import simulated


class NewsAtTheEnd:
    """A Kube whose watches hear something just when the last list is read."""

    def __init__(self, search: TrainingSearch) -> None:
        self._body = search.dump()
        self._body["metadata"] |= {"resourceVersion": "1", "uid": search.metadata.uid}
        self._heard = asyncio.Event()
        self._lists = 0

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return self._body

    async def list(self, *of: object) -> AsyncIterator[SimpleNamespace]:
        self._lists += 1
        if self._lists == 1:  # that of the end; let the watches begin
            for _ in range(20):
                await asyncio.sleep(0)
            self._heard.set()
        yield SimpleNamespace(items=[], version=1)

    async def watch(self, *of: object) -> AsyncIterator[dict[str, Any]]:
        while True:
            await self._heard.wait()
            self._heard.clear()
            yield {"type": "BOOKMARK", "object": {}}


def test_a_watch_of_an_ended_search_ends() -> None:
    search, _ = simulated(stages=3)

    async def watched() -> None:
        async for _ in live(NewsAtTheEnd(search), "default", Seen(search)):  # type: ignore[arg-type]
            pass

    assert search.status.phase == "Complete"
    asyncio.run(asyncio.wait_for(watched(), 20))
