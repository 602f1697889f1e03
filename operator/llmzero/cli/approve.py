"""``llmzero approve`` and ``reject``: a person's word on proposals under ``approval: manual``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from llmzero.api.stage import StageNode
from llmzero.cli.output import Exit, console, fail, in_order, node_of, run_of
from llmzero.local import approvals
from llmzero.local.errors import RunError

Directory = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
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


def _decide(directory: Path, wanted: list[str], approved: bool) -> None:
    run = run_of(directory)
    if not wanted:
        _list([n for n in in_order(run.nodes.values()) if approvals.waiting(n)])
    found = [node_of(run, name) for name in wanted]
    for node in found:
        if node.status.expansion is None:
            fail(f"{node.spec.path}: has no proposals")
    for node in found:
        try:
            approvals.leave(run.path, node, approved)
        except RunError as error:
            fail(str(error), Exit.MACHINE)
        word = "approved" if approved else "rejected"
        console.print(f"stage {node.spec.path}: {word}", highlight=False)


def _list(nodes: list[StageNode]) -> None:
    if not nodes:
        console.print("no proposals wait")
    for node in nodes:
        expansion = approvals.waiting(node)
        assert expansion is not None
        for branch, proposal, by in expansion.proposals:
            changes = ", ".join(f"{k} = {v}" for k, v in proposal.changes.items()) or "no change"
            console.print(
                f"stage {node.spec.path}, from {branch.node or node.spec.path} step {branch.step}, "
                f"{by}: {escape(changes)} ({escape(proposal.rationale[:200])})",
                highlight=False,
                soft_wrap=True,
            )
