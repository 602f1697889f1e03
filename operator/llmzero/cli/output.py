"""What every command shares: exit codes, errors in one line, ``-o json|yaml``."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum, StrEnum
from errno import EDQUOT, ENOSPC, EPIPE
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO

import typer
from rich.console import Console

from llmzero import __version__
from llmzero.api.base import ObjectList
from llmzero.api.manifest import to_yaml
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.local.errors import RunError, UsageError
from llmzero.local.store import RunDirectory, read_run

PLAIN_WIDTH = 140
"""Columns of tables and trees where stdout is no terminal."""


def _width(stream: TextIO) -> int | None:
    """As wide as the terminal; elsewhere wide enough for tables, unless COLUMNS says so."""
    return None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH


console = Console(width=_width(sys.stdout))
errors = Console(stderr=True, width=_width(sys.stderr))


class Exit(IntEnum):
    """Exit codes of every command."""

    COMPLETE = 0
    MACHINE = 1
    """The machine is in the way (disk, permissions); mend it and run again."""
    USAGE = 2
    SEARCH_FAILED = 3
    INTERRUPTED = 130


class Format(StrEnum):
    JSON = "json"
    YAML = "yaml"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmzero {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]


def fail(message: str, code: Exit = Exit.USAGE) -> NoReturn:
    """One line on stderr and the exit code."""
    errors.print(f"[bold red]error:[/] {_escaped(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def called(app: Callable[..., object], **options: Any) -> None:
    """Runs a command line; a full disk behind standard output is one line, as it is elsewhere, and
    a reader that has gone (``| head``) is none."""
    try:
        try:
            app(**options)
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT, EPIPE):
            raise
        # What is still buffered would fail once more when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != EPIPE:
            errors.print(f"[bold red]error:[/] standard output: {error.strerror}", highlight=False)
        sys.exit(Exit.MACHINE)


def run_of(directory: Path) -> RunDirectory:
    """The run in a directory, or an error and exit."""
    try:
        return read_run(directory)
    except UsageError as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), Exit.MACHINE)


def in_order(nodes: Iterable[StageNode]) -> list[StageNode]:
    """Training stages depth-first as in the tree, then the evaluations."""

    def key(node: StageNode) -> tuple[int, list[int], str]:
        path = [] if node.spec.path == "base" else [int(p) for p in node.spec.path.split("-")]
        return (node.spec.purpose is not Purpose.TRAIN, path, node.name)

    return sorted(nodes, key=key)


def print_objects(search: TrainingSearch, nodes: Sequence[StageNode], format: Format) -> None:
    """A ``v1`` List of the search and its stages, as ``kubectl get -o`` prints them."""
    print_list([search, *in_order(nodes)], format)


def print_list(objects: Sequence[TrainingSearch | StageNode], format: Format) -> None:
    data = ObjectList(items=[o.dump() for o in objects]).dump()
    sys.stdout.write(
        json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        if format is Format.JSON
        else to_yaml(data)
    )


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
