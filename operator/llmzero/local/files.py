"""Files that are there whole or not at all, whenever the process is killed."""

import contextlib
import os
from pathlib import Path

from llmzero.failpoints import failpoint
from llmzero.local.errors import RunError


def write_whole(path: Path, text: str) -> None:
    """Temporary file, fsync, rename, fsync of the folder. Raises RunError naming the path."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with made.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        failpoint("before-rename")
        os.rename(made, path)
        failpoint("after-rename")
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        with contextlib.suppress(OSError):
            made.unlink(missing_ok=True)
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from error


def sweep(folder: Path) -> None:
    """Remove temporary files that a killed process left. Only under the lock."""
    for made in folder.glob(".*.json.*"):
        made.unlink(missing_ok=True)


def make_folder(path: Path) -> None:
    """``mkdir -p``. Raises RunError naming the path."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{path}: cannot be made: {error.strerror or error}") from error
