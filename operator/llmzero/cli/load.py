"""A manifest file to a TrainingSearch, or every mistake in it at once."""

import sys
from pathlib import Path

import typer
from rich.markup import escape

from llmzero import strategies
from llmzero.api.manifest import ManifestError, read_search
from llmzero.api.search import TrainingSearch
from llmzero.api.validation import Problem, problems
from llmzero.cli.output import Exit, errors, fail


def read_text(file: Path) -> str:
    """The text of a file, ``-`` is standard input."""
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
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
    return problems(document, strategies.check_options)


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


def load_search(file: Path, strategy: str | None = None) -> TrainingSearch:
    """The search in a manifest; mistakes are printed and end the command with exit code 2."""
    search, found = check(file, strategy)
    show_problems(file, found)
    if search is None or any(not p.warning for p in found):
        raise typer.Exit(Exit.USAGE)
    return search
