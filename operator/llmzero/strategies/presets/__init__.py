"""Published schedules, each a document with its sources: constant data of this package."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from llmzero.api.manifest import read_documents
from llmzero.api.schedule import ScheduleDocument

PRESETS: Final = ("dapo", "deepscaler", "polaris", "prorl", "skywork-or1")


@cache
def preset(name: str) -> ScheduleDocument:
    """A shipped schedule. Raises KeyError for an unknown name."""
    if name not in PRESETS:
        raise KeyError(name)
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    (document,) = read_documents(text)
    return ScheduleDocument.model_validate(document)


def loaded(given: str | Mapping[str, Any]) -> ScheduleDocument:
    """The schedule that an option holds, or names. Raises ValidationError, KeyError."""
    return preset(given) if isinstance(given, str) else ScheduleDocument.model_validate(dict(given))
