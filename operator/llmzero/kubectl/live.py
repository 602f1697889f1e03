"""A search while it grows: two watches that start anew wherever they are cut off."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.controller.kube import Kube
from llmzero.controller.transport import ApiError, Object
from llmzero.kubectl.searches import Seen, all_of, parsed, selector
from llmzero.kubectl.trouble import Trouble

SILENT_SECONDS: Final = 90.0
"""A watch that sent nothing for so long, not even a bookmark, was cut off unnoticed."""
AGAIN_SECONDS: Final = 1.0
TICK_SECONDS: Final = 0.5
ENDED: Final = ("Complete", "Failed")


async def live(kube: Kube, namespace: str, seen: Seen) -> AsyncIterator[None]:
    """Keeps ``seen`` as the search is now, until it ends; yields after changes, and twice a second.

    Raises ApiError (no right), Trouble where the search is deleted.
    """
    news = asyncio.Event()
    watches = [
        asyncio.create_task(_keep(kube, namespace, seen, kind, news))
        for kind in ("TrainingSearch", "StageNode")
    ]
    try:
        while seen.search.status.phase not in ENDED:
            yield
            news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await news.wait()
            for watch in watches:
                if watch.done():
                    watch.result()  # raises what ended it
        # The search's end may be heard before that of its last stage.
        await _list(kube, namespace, seen, "StageNode")
        yield
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def _keep(kube: Kube, namespace: str, seen: Seen, kind: str, news: asyncio.Event) -> None:
    """List, then watch, for ever."""
    name = seen.search.name
    query = (
        {"fieldSelector": f"metadata.name={name}"}
        if kind == "TrainingSearch"
        else {"labelSelector": selector(name)}
    )
    while True:
        try:
            version = await _list(kube, namespace, seen, kind)
            news.set()
            events = kube.watch(kind, namespace, version, query)
            async with contextlib.aclosing(events):
                while True:
                    # Not wait_for: in Python 3.11 it loses a cancel that meets an event.
                    async with asyncio.timeout(SILENT_SECONDS):
                        event = await anext(events, None)
                    if event is None:
                        break
                    if _take(seen, kind, event):
                        news.set()
        except TimeoutError:
            continue
        except ApiError as error:
            if not error.passing and error.status != 410:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


async def _list(kube: Kube, namespace: str, seen: Seen, kind: str) -> int:
    """What there is now takes the place of what was seen; the version to watch from."""
    if kind == "TrainingSearch":
        body = await kube.get(kind, namespace, seen.search.name)
        if body is None:
            raise _deleted(seen)
        _put_search(seen, body)
        return int(body["metadata"]["resourceVersion"])
    nodes, version = await all_of(kube, StageNode, namespace, selector(seen.search.name))
    seen.nodes = {n.name: n for n in nodes if seen.belongs(n)}
    return version


def _take(seen: Seen, kind: str, event: Object) -> bool:
    """Whether an event changed anything."""
    if event["type"] == "BOOKMARK":
        return False
    gone = event["type"] == "DELETED"
    if kind == "TrainingSearch":
        if gone:
            raise _deleted(seen)
        _put_search(seen, event["object"])
        return True
    node = parsed(StageNode, event["object"])
    if not seen.belongs(node):
        return False
    if gone:
        seen.nodes.pop(node.name, None)
    else:
        seen.nodes[node.name] = node
    return True


def _put_search(seen: Seen, body: Object) -> None:
    search = parsed(TrainingSearch, body)
    if search.metadata.uid != seen.search.metadata.uid:
        raise _deleted(seen)
    seen.search = search


def _deleted(seen: Seen) -> Trouble:
    return Trouble(f"{seen.search.name}: the search was deleted")
