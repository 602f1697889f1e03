"""``llmzero approve`` and ``reject``: a person's word on proposals under ``approval: manual``."""

from typing import Annotated

import typer

from llmzero.api.stage import StageNode
from llmzero.cli import looks
from llmzero.cli.inspect import Directory
from llmzero.cli.output import Exit, fail
from llmzero.cli.source import directory
from llmzero.local import approvals
from llmzero.local.errors import RunError

Nodes = Annotated[
    list[str] | None,
    typer.Argument(help="Paths (0-1) or names of stages; none lists what waits."),
]


def approve(dir: Directory, nodes: Nodes = None) -> None:
    """Let the waiting proposals of stages go; without a stage, list them."""
    _decide(dir, nodes or [], True)


def reject(dir: Directory, nodes: Nodes = None) -> None:
    """Refuse the waiting proposals of stages; without a stage, list them."""
    _decide(dir, nodes or [], False)


def _decide(dir: Directory, wanted: list[str], approved: bool) -> None:
    def tell(node: StageNode) -> None:
        try:
            approvals.leave(dir, node, approved)
        except RunError as error:
            fail(str(error), Exit.MACHINE)

    looks.decide(directory(dir), wanted, approved, tell)
