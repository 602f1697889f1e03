"""The ways a stage ends that are no success, each with its reserved exit code."""

import errno
from pathlib import Path

from llmzero.api.contract import ExitCode

_FULL_OR_FORBIDDEN = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.ESTALE,
}


class StageError(Exception):
    """Ends the attempt with ``code``; ``reason`` is one CamelCase word for programs."""

    def __init__(self, code: ExitCode, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def invalid(message: str) -> StageError:
    """The request cannot be carried out as it stands: somebody has to change it."""
    return StageError(ExitCode.INVALID_REQUEST, "InvalidRequest", message)


def storage(message: str) -> StageError:
    """A disk, a directory or a file that is missing, full or closed: mend it and go on."""
    return StageError(ExitCode.STORAGE, "Storage", message)


def reward_failed(message: str) -> StageError:
    """A reward function raised or returned what is no reward."""
    return StageError(ExitCode.REWARD_FAILED, "RewardFailed", message)


def diverged(message: str) -> StageError:
    """Loss, gradient or weights are no longer finite."""
    return StageError(ExitCode.DIVERGED, "Diverged", message)


def fenced(message: str) -> StageError:
    """Another attempt may publish, not this one."""
    return StageError(ExitCode.FENCED, "Fenced", message)


def interrupted(message: str) -> StageError:
    """Told to stop by SIGTERM."""
    return StageError(ExitCode.INTERRUPTED, "Interrupted", message)


def out_of_memory(message: str) -> StageError:
    """The ladder of smaller micro-batches is used up."""
    return StageError(ExitCode.OUT_OF_MEMORY, "OutOfMemory", message)


def from_os_error(error: OSError, what: str | Path) -> StageError | None:
    """A storage error that names the path; None where the errno is not about storage."""
    if error.errno not in _FULL_OR_FORBIDDEN:
        return None
    return storage(f"{error.filename or what}: {error.strerror or error}")
