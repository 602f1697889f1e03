"""Names of objects: deterministic, at most 58 characters, unique to one search's UID."""

import hashlib

NAME_LIMIT = 58
"""Of a StageNode: with ``-<attempt>`` it is a Job's name, which becomes a label (63)."""
SEARCH_NAME_LIMIT = 30
"""Longest name of a search: its stages' names fit, the deepest ones hashed."""


def tag(search_uid: str) -> str:
    """Six hex digits of the search's UID: a re-applied search never adopts old directories."""
    return hashlib.sha256(search_uid.encode()).hexdigest()[:6]


def stage_name(search: str, search_uid: str, path: str, purpose: str = "") -> str:
    """``<search>-<tag>-<path>[-purpose]``; a path too long for the limit is hashed.

    ``path`` is child numbers joined by dashes (``0-2-1``) or ``base``.
    """
    tail = path if not purpose else f"{path}-{purpose.lower()}"
    name = f"{search}-{tag(search_uid)}-{tail}"
    if len(name) <= NAME_LIMIT:
        return name
    digest = hashlib.sha256(tail.encode()).hexdigest()[:16]
    return f"{search}-{tag(search_uid)}-x{digest}"


def child_path(parent_path: str | None, number: int) -> str:
    """Path of child ``number``; ``None`` is the root (the base model)."""
    return str(number) if parent_path is None else f"{parent_path}-{number}"


def depth(path: str) -> int:
    """Stages from the base model down to this path; a child of the root has depth 1."""
    return 0 if path == "base" else path.count("-") + 1
