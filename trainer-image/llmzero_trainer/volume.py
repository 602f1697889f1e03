"""How much room the volume of a path has."""

import os
from pathlib import Path

from llmzero.api.contract import VolumeSpace

NEARLY_NOTHING = 1024 * 1024
"""Bytes below which a write that failed without an errno is put down to the full volume."""
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def space(path: Path) -> VolumeSpace | None:
    """None where the file system does not say (some network file systems report nothing)."""
    try:
        found = os.statvfs(_existing(path))
    except OSError:
        return None
    if found.f_blocks == 0:
        return None
    return VolumeSpace(
        capacity_bytes=found.f_blocks * found.f_frsize,
        available_bytes=found.f_bavail * found.f_frsize,
    )


def words(path: Path) -> str:
    """Like ``volume /data: 0 bytes of 10.0 GB are free``."""
    found, mount = space(path), _existing(path.absolute())
    while not os.path.ismount(mount):
        mount = mount.parent
    if found is None:
        return f"volume {mount}"
    free, size = _short(found.available_bytes), _short(found.capacity_bytes)
    return f"volume {mount}: {free} of {size} are free"


def _existing(path: Path) -> Path:
    return next((p for p in (path, *path.parents) if p.exists()), path)


def _short(count: int) -> str:
    """Decimal units, two digits or more."""
    power = min((len(str(count)) - 1) // 3, len(UNITS) - 1)
    value = count / 1000**power
    return f"{value:.1f} {UNITS[power]}" if power and value < 100 else f"{value:.0f} {UNITS[power]}"
