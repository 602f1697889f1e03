"""Named places between two writes, where a test kills this process on purpose."""

import os
import signal

ENV = "LLMZERO_FAILPOINT"
"""``name`` or ``name:n``: SIGKILL at the n-th passing of that place (the first by default)."""

_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    wanted, _, count = os.environ.get(ENV, "").partition(":")
    if wanted != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
