"""SIGTERM: a flag that is looked at between steps, and a deadline for steps that are too long."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

from llmzero_trainer.errors import interrupted

GRACE_ENV = "LLMZERO_GRACE_SECONDS"
DEFAULT_GRACE = 25.0
"""Seconds from SIGTERM to the exit; below Kubernetes' default of 30."""


class Interrupt:
    """Whether the attempt was told to stop."""

    def __init__(self) -> None:
        self.requested = False
        self._over = False
        self._timer: threading.Timer | None = None

    def install(self, give_up: Callable[[], None]) -> None:
        """Listen for SIGTERM and SIGINT; ``give_up`` must end the process when grace is over."""
        grace = float(os.environ.get(GRACE_ENV) or DEFAULT_GRACE)

        def handle(_: int, __: FrameType | None) -> None:
            if self.requested or self._over:
                return
            self.requested = True
            self._timer = threading.Timer(grace, give_up)
            self._timer.daemon = True
            self._timer.start()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def over(self) -> None:
        """The last word is said: nobody gives up any more, which would say another."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """Raises StageError (Interrupted) where there is nothing worth saving."""
        if self.requested:
            raise interrupted("stopped by SIGTERM")
