"""How long a search whose reconcile failed waits for the next one."""

from llmzero.controller.store import Key

FIRST_SECONDS = 1.0


class Backoff:
    """Doubles from failure to failure. An attempt that an event woke early does not count: under
    a burst of events six refusals in a row take less than a second, and would cost a minute."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[int, float]] = {}
        """How often it failed, and when it is due again."""

    def failed(self, key: Key, now: float, limit: float) -> float:
        """Seconds from ``now`` (a monotonic clock) to the next attempt, at most ``limit``."""
        count, due = self._known.get(key, (0, now))
        if count and now < due:
            return min(due - now, limit)
        wait = min(FIRST_SECONDS * 2.0 ** min(count, 10), limit)
        self._known[key] = count + 1, now + wait
        return wait

    def succeeded(self, key: Key) -> None:
        self._known.pop(key, None)
