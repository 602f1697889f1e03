"""Whether a function ``module:function`` is there, judged without running a line of its module.

The trainer imports it in the working directory with PYTHONPATH; what can only be known by running
code (names made by ``globals()``, ``import *``, C extensions) is given the benefit of the doubt.
"""

import ast
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

from llmzero.api.validation.problem import hint

MAKES_NAMES = frozenset({"globals", "vars", "locals", "exec", "eval", "setattr", "__getattr__"})
"""A module that uses one of these may have names that do not stand in its source."""


class _Unknown(Exception):
    """Only running the code would tell."""


def search_folders() -> list[str]:
    """Where a stage's process looks for modules: as ``python -m`` and the forkserver do."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return list(dict.fromkeys([os.getcwd(), *filter(None, given), *filter(None, sys.path)]))


def has_module(name: str, folders: Sequence[str]) -> bool:
    """Whether the module lies in one of the folders themselves."""
    try:
        return _found(name, folders, only=True) is not None
    except _Unknown:
        return False


def function_problem(name: str, folders: Sequence[str]) -> str | None:
    """What is wrong with ``module:function``, in words; None where nothing is known to be."""
    module, _, function = name.partition(":")
    try:
        spec = _found(module, folders)
        if spec is None:
            where = f"the working directory ({os.getcwd()})"
            return f"no module {module} on this machine: it must lie in {where} or on PYTHONPATH"
        if spec.loader is None:
            return f"{module} is a folder without __init__.py: it has no function {function}"
        return _lacks(spec, function)
    except _Unknown:
        return None


def _found(name: str, folders: Sequence[str], only: bool = False) -> ModuleSpec | None:
    """The module as an import would find it; None where it would not. Raises _Unknown.

    ``importlib.util.find_spec`` runs the packages above a module, so it is not used here.
    """
    first, *rest = name.split(".")
    spec = _on(first, folders) if only else _top(first, folders)
    for part in rest:
        if spec is None:
            return None
        inside = list(spec.submodule_search_locations or [])
        below = _on(f"{spec.name}.{part}", inside) if part else None
        if below is None and spec.loader is not None and _names(spec) & {"sys", "__path__"}:
            raise _Unknown  # it may register modules of its own, as six does
        spec = below
    return spec


def _top(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    """In the order of an import: built in, frozen, in a folder, then what is installed editable."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if finder is PathFinder:
            spec = _on(name, folders)
        elif find is None:
            continue
        else:
            try:
                spec = find(name, None)
            except Exception as error:  # a finder of somebody else's
                raise _Unknown from error
        if spec is not None:
            return spec
    return None


def _on(name: str, folders: Sequence[str]) -> ModuleSpec | None:
    """In folders: a module or package, else the parts of a namespace package."""
    parts: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        if finder is None or not hasattr(finder, "find_spec"):
            continue
        if hasattr(finder, "invalidate_caches"):
            finder.invalidate_caches()  # a file may be younger than the listing
        spec = finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        parts += (spec.submodule_search_locations or []) if spec is not None else []
    if not parts:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = parts
    return namespace


def _lacks(spec: ModuleSpec, function: str) -> str | None:
    names = _names(spec)
    if function in names:
        return None
    return f"module {spec.name} ({spec.origin}) has no {function}{hint(function, names)}"


def _names(spec: ModuleSpec) -> set[str]:
    """The names that a module binds. Raises _Unknown where its source does not tell."""
    try:
        source = spec.loader.get_source(spec.name)  # type: ignore[union-attr]
        tree = ast.parse(source)
    except Exception as error:  # no source, or none that can be read: the import will say so
        raise _Unknown from error
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Name) and node.id in MAKES_NAMES:
            raise _Unknown
        elif isinstance(node, ast.Attribute) and node.attr in ("modules", "__dict__"):
            raise _Unknown  # sys.modules[__name__]
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        found |= _bound(node)
        own = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        if not isinstance(node, own):  # what these bind inside is theirs
            waiting.extend(ast.iter_child_nodes(node))
    if found & MAKES_NAMES:
        raise _Unknown
    return found


def _bound(node: ast.AST) -> set[str]:
    """The names that one statement or expression binds by itself. Raises _Unknown."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, ast.Import | ast.ImportFrom):
        if any(alias.name == "*" for alias in node.names):
            raise _Unknown
        return {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    name = getattr(node, "name", None)  # def, class, match, except
    return {name} if isinstance(name, str) and not isinstance(node, ast.alias) else set()
