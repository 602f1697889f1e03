"""Functions of the user's, named ``module:function``."""

import importlib
from collections.abc import Callable
from typing import Any

from llmzero_trainer.errors import invalid


def load_function(name: str, field: str) -> Callable[..., Any]:
    """Import it. Raises StageError (InvalidRequest) that names ``field`` and the cause."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise invalid(f"{field}: found {name!r}, module:function is needed")
    try:
        target: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module does at import
        raise invalid(
            f"{field}: module {module_name!r} cannot be imported: {type(error).__name__}: {error} "
            "(it must lie in the working directory or on PYTHONPATH)"
        ) from error
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise invalid(f"{field}: module {module_name!r} has no {attribute!r}")
        target = getattr(target, part)
    if not callable(target):
        raise invalid(f"{field}: {name!r} is no function")
    return target  # type: ignore[no-any-return]
