"""The commands on the pages: what they name exists, and the command line takes their options.

What they do is for other tests (README's two commands are CI itself, install.md is e2e).
"""

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from llmzero.cli import kubectl, main

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = ("examples/", "charts/", "crds/", "tests/", "benchmarks/", "trainer-image/", "operator/")
TOOLS = ("llmzero", "kubectl", "helm", "make", "python", "promtool", "git", "buildah")
PLACEHOLDERS = {"NAME", "DIRECTORY", "DIR", "NODE"}


def commands(page: Path) -> Iterator[str]:
    """Of code blocks, indented or fenced: one command a line, continued lines joined."""
    text = re.sub(r" *\\\n\s*", " ", page.read_text())
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            said = re.sub(r"\s+#\s.*", "", line.strip().removeprefix("$ ")).rstrip(" &")
            for part in said.split(" && "):
                command = part.removeprefix(".venv/bin/")
                if command.split(" ")[0] in TOOLS:
                    yield command


COMMANDS = sorted({(page.name, command) for page in PAGES for command in commands(page)})


def parsed(command: Any, words: list[str], parent: Any = None) -> None:
    """Raises where the command line would refuse it. Nothing is run."""
    try:
        context = command.make_context(command.name, words, parent=parent)
    except typer.BadParameter as error:
        if "does not exist" not in error.format_message():  # the reader's own file
            raise
        return
    if isinstance(command, TyperGroup) and (rest := [*context._protected_args, *context.args]):
        _, found, rest = command.resolve_command(context, rest)
        parsed(found, rest, context)


def of(app: typer.Typer, words: list[str]) -> None:
    parsed(typer.main.get_command(app), words)


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_on_a_page_is_one_that_there_is(page: str, command: str) -> None:
    words = shlex.split(re.split(r" [>|] ", command)[0])
    for word in words:
        if word.startswith(OURS) and not PLACEHOLDERS & set(word.split("/")):
            assert (ROOT / word).exists(), word
    match words:
        case ["llmzero", name, *rest] if name in main.LAZY:
            of(importlib.import_module(main.LAZY[name][0]).app, rest)
        case ["llmzero", *rest]:
            of(main.app, rest)
        case ["kubectl", "llmzero", *rest]:
            of(kubectl.app, rest)
        case ["make", target, *_]:
            assert f"\n{target}:" in (ROOT / "Makefile").read_text()
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module)


def test_the_pages_have_commands_and_a_wrong_one_is_found() -> None:
    assert len([c for _, c in COMMANDS if "llmzero" in c]) > 20
    with pytest.raises(Exception, match="No such option"):
        of(main.app, ["tree", "runs/a", "--no-such-option"])
    with pytest.raises(Exception, match="No such command"):
        of(main.app, ["no-such-command"])
