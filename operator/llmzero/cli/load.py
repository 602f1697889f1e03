"""A manifest file to a TrainingSearch, or every mistake in it at once."""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from llmzero import strategies
from llmzero.api.manifest import ManifestError, read_bounded, read_documents, read_search
from llmzero.api.search import TrainingSearch
from llmzero.api.validation import Problem, problems
from llmzero.cli.output import Exit, errors, fail
from llmzero.local.errors import RunError
from llmzero.local.inputs import input_problems
from llmzero.local.store import read_run
from llmzero.search.status import ENDED
from llmzero.strategies.presets import PRESETS
from llmzero.strategies.schedule import FILES


def read_text(file: Path) -> str:
    """The text of a file, ``-`` is standard input; no more of it than a manifest may be long."""
    try:
        if str(file) == "-":
            return read_bounded(sys.stdin.buffer)
        with file.open("rb") as stream:
            return read_bounded(stream)
    except ManifestError as error:
        fail(f"{file}: {error}")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}")


def check(file: Path, strategy: str | None = None) -> tuple[TrainingSearch | None, list[Problem]]:
    """The search (None where it cannot be built) and everything that is wrong or doubtful."""
    try:
        document = read_search(read_text(file))
    except ManifestError as error:
        fail(f"{file}: {error}")
    if strategy is not None:
        spec = document.setdefault("spec", {})
        if isinstance(spec, dict) and isinstance(spec.setdefault("strategy", {}), dict):
            spec["strategy"]["name"] = strategy
            spec["strategy"].pop("options", None)
    looked_in = _inline_schedule(document, file)
    search, found = problems(document, strategies.check_options)
    if looked_in is not None:
        words = f"no such file {looked_in}"
        found = [replace(p, allowed=p.allowed.replace(FILES, words)) for p in found]
    if search is not None and all(p.warning for p in found):
        found += [Problem(*note, warning=True) for note in strategies.unfitting(search.spec)]
        if strategies.pays_nothing(search):
            stages, name = search.spec.budget.stages, search.spec.strategy.name
            words = f"strategy {name} can pay no first stage with it (a full stage costs 1)"
            found.insert(0, Problem("spec.budget.stages", f"{stages:g}", words))
    return search, found


def missing(file: Path, search: TrainingSearch) -> list[Problem]:
    """What the search needs of this machine and is not here."""
    return input_problems(search.spec, None if str(file) == "-" else file.parent)


def _inline_schedule(document: dict[str, Any], file: Path) -> str | None:
    """Puts the schedule that ``from`` or ``warmStart`` in ``strategy.options`` names, a file next
    to the manifest, in its place: a search is whole without the files that it was made of. Where
    there is no such file: where it was looked for."""
    spec = document.get("spec")
    strategy = spec.get("strategy") if isinstance(spec, dict) else None
    options = strategy.get("options") if isinstance(strategy, dict) else None
    if not isinstance(options, dict):
        return None
    key = "from" if "from" in options else "warmStart"
    named = options.get(key)
    if not isinstance(named, str) or named in PRESETS:
        return None
    path = Path(named) if str(file) == "-" else file.parent / named
    if not path.is_file():
        # The option's check says what else is allowed.
        where = "in the working directory" if str(file) == "-" else "next to the manifest"
        return f"{where} (looked in {os.path.abspath(path.parent)})"
    try:
        found = read_documents(read_text(path))
    except ManifestError as error:
        fail(f"{path}: {error}")
    if len(found) != 1:
        fail(f"{path}: one schedule is needed, found {len(found)} documents")
    options[key] = found[0]
    return None


def show_problems(file: Path, found: list[Problem]) -> None:
    """One line a problem: path, what was found, what is allowed."""
    for problem in found:
        colour = "yellow" if problem.warning else "red"
        word = "warning" if problem.warning else "error"
        errors.print(
            f"[bold {colour}]{word}:[/] {escape(f'{file}: {problem}')}",
            highlight=False,
            soft_wrap=True,
        )


def load_search(
    file: Path,
    strategy: str | None = None,
    run_in: Callable[[TrainingSearch], Path] | None = None,
) -> TrainingSearch:
    """The search in a manifest; mistakes are printed and end the command with exit code 2.

    ``run_in`` says where a search is about to run: then what it needs and is not on this machine
    is a mistake too, unless the run there is over and will start nothing.
    """
    search, found = check(file, strategy)
    if search is not None and run_in is not None:
        absent = missing(file, search)
        if absent and not _is_over(run_in(search), search):
            found = [*absent, *found]
    _refuse(file, found)
    if search is None:
        raise typer.Exit(Exit.USAGE)
    return search


def refuse_missing(file: Path, search: TrainingSearch, run_in: Path) -> None:
    """The same for a search that comes from no manifest; ``file`` is what the lines begin with."""
    absent = input_problems(search.spec)
    if absent and not _is_over(run_in, search):
        _refuse(file, absent)


def _refuse(file: Path, found: list[Problem]) -> None:
    """Show the problems; where one is a mistake the command ends."""
    show_problems(file, found)
    if any(not p.warning for p in found):
        raise typer.Exit(Exit.USAGE)


def _is_over(directory: Path, search: TrainingSearch) -> bool:
    """Whether this very search has ended there (a raised budget lets it go on)."""
    try:
        stored = read_run(directory).search
    except RunError:
        return False
    # Whom to ask is told on the command line, too, and changes nothing of a run that is over.
    same = stored.spec.with_(agent=None) == search.spec.with_(agent=None)
    return stored.status.phase in ENDED and same
