"""The ways a stage ends that are no success, each with its reserved exit code."""

import errno
import os
from pathlib import Path

from llmzero.api.contract import STORAGE_FULL, ExitCode
from llmzero_trainer import volume

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {
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


def full(what: str | Path, said: str) -> StageError:
    """A volume or a quota is used up: a person has to make room."""
    where = volume.words(Path(what))
    todo = "make room on it or enlarge the claim"
    return StageError(ExitCode.STORAGE, STORAGE_FULL, f"{what}: {said}; {where}: {todo}")


def cannot_save(error: Exception, what: Path) -> StageError:
    """torch and safetensors have errors of their own, some of which do not speak of the disk."""
    if isinstance(error, OSError):
        return from_os_error(error, what) or storage(f"{what}: {error}")
    said, left = f"{type(error).__name__}: {error}", volume.space(what)
    spoken = any(os.strerror(number) in said for number in _FULL)
    if spoken or (left is not None and left.available_bytes < volume.NEARLY_NOTHING):
        return full(what, f"cannot be saved ({said[:120]})")
    return storage(f"{what}: cannot be saved: {said}")


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
    if error.errno in _FULL:
        return full(error.filename or what, error.strerror or str(error))
    if error.errno not in _FORBIDDEN:
        return None
    return storage(f"{error.filename or what}: {error.strerror or error}")
