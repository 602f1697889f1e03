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

    def install(self, give_up: Callable[[], None]) -> None:
        """Listen for SIGTERM and SIGINT; ``give_up`` must end the process when grace is over."""
        grace = float(os.environ.get(GRACE_ENV) or DEFAULT_GRACE)

        def handle(_: int, __: FrameType | None) -> None:
            if self.requested:
                return
            self.requested = True
            timer = threading.Timer(grace, give_up)
            timer.daemon = True
            timer.start()

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def check(self) -> None:
        """Raises StageError (Interrupted) where there is nothing worth saving."""
        if self.requested:
            raise interrupted("stopped by SIGTERM")
