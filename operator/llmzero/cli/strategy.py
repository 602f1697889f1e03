"""``llmzero strategy``: the best trajectory, shown or written down for another search."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from llmzero.cli import looks
from llmzero.cli.inspect import Directory
from llmzero.cli.inspect import strategy as show
from llmzero.cli.source import directory

Last = Annotated[
    str | None, typer.Option(help="Path (0-1) or name of the last stage; the best by default.")
]
Schedule = Annotated[
    Path | None, typer.Option("-o", "--output", help="File to write; standard output else.")
]


class ShowsByDefault(TyperGroup):
    """``llmzero strategy DIR`` is ``llmzero strategy show DIR``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        known = {*self.commands, "--help"}
        return super().parse_args(ctx, ["show", *args] if args and args[0] not in known else args)


app = typer.Typer(cls=ShowsByDefault, no_args_is_help=True)
app.command("show")(show)


@app.command()
def export(dir: Directory, node: Last = None, output: Schedule = None) -> None:
    """Write the best path as a schedule that another search can replay (options.from)."""
    looks.export_strategy(directory(dir), node, output)
