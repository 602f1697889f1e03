"""The families behind /metrics: made in the scraper's thread from a snapshot, at most so often."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.telemetry.families import samples

Snapshot = tuple[Sequence[TrainingSearch], Sequence[StageNode]]


class SearchCollector(Collector):
    """``snapshot`` copies the two lists of stored objects, which are immutable; it must be cheap
    and may be called from any thread. Scrapes within ``fresh_seconds`` get the same answer, so
    that a flood of requests costs the engine nothing."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        clock: Callable[[], datetime],
        fresh_seconds: float = 2.0,
    ) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._made_at = float("-inf")
        self._families: Sequence[Metric] = ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if time.monotonic() - self._made_at >= self._fresh_seconds:
                searches, nodes = self._snapshot()
                self._families = samples(searches, nodes, self._clock())
                self._made_at = time.monotonic()
            return self._families

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not read the store."""
        return ()
