"""A volume that is really small: a tmpfs, where this machine lets us mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallVolume:
    """``path`` is where it is mounted; it can grow, as a claim can."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def resize(self, size: int) -> None:
        _mount("-o", f"remount,size={size}", str(self.path))

    def fill(self, leave: int, below: str = "", owner: int = 0) -> None:
        """A file that leaves so many bytes free, in the directory ``below`` of the volume."""
        self.clear()
        self._ballast = self.path / below / "ballast"
        self._ballast.parent.mkdir(parents=True, exist_ok=True)
        if below:
            os.chown(self._ballast.parent, owner, owner)
        with self._ballast.open("wb") as stream:
            room = _free(self.path) - leave
            for _ in range(room // 4096):
                stream.write(bytes(4096))

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_volume(path: Path, size: int) -> Iterator[SmallVolume]:
    """Skips the test where mounting is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    try:
        _mount("-t", "tmpfs", "-o", f"size={size},mode=0777", "none", str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"mounting a tmpfs needs root with CAP_SYS_ADMIN: {error}")
    try:
        yield SmallVolume(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
