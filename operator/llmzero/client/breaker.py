"""A circuit breaker: an endpoint that keeps failing is left alone for a while."""

import time
from collections.abc import Callable


class Breaker:
    """Opens after ``threshold`` failures in a row, for ``rest`` seconds; then one trial call.

    Each failed trial doubles the rest, up to ``longest_rest``. Not for use by several threads.
    """

    def __init__(
        self,
        threshold: int = 3,
        rest: float = 30.0,
        longest_rest: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_rest = self._rest = rest
        self._longest = longest_rest
        self._clock = clock
        self._failures = 0
        self._until: float | None = None
        self._trial_until = 0.0

    @property
    def wait(self) -> float:
        """Seconds until the next call is let through; 0 while closed."""
        if self._until is None:
            return 0.0
        return max(0.0, max(self._until, self._trial_until) - self._clock())

    def allow(self, expected_seconds: float = 60.0) -> bool:
        """Whether a call may be made now. While open, lets one trial through at a time;

        a trial that never reports back is forgotten after ``expected_seconds``.
        """
        if self.wait > 0:
            return False
        if self._until is not None:
            self._trial_until = self._clock() + expected_seconds
        return True

    def success(self) -> None:
        self._failures, self._until, self._trial_until = 0, None, 0.0
        self._rest = self._first_rest

    def failure(self) -> None:
        self._failures += 1
        if self._until is not None:
            self._rest = min(self._rest * 2, self._longest)
        if self._failures >= self._threshold:
            self._until = self._clock() + self._rest
            self._trial_until = 0.0
