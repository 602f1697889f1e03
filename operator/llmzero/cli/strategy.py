"""``llmzero strategy``: the best trajectory, shown or written down for another search."""

from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from llmzero.api.manifest import to_yaml
from llmzero.cli.inspect import Directory
from llmzero.cli.inspect import strategy as show
from llmzero.cli.output import Exit, console, fail, node_of, run_of
from llmzero.report.schedule import schedule_of


class ShowsByDefault(TyperGroup):
    """``llmzero strategy DIR`` is ``llmzero strategy show DIR``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        known = {*self.commands, "--help"}
        return super().parse_args(ctx, ["show", *args] if args and args[0] not in known else args)


app = typer.Typer(cls=ShowsByDefault, no_args_is_help=True)
app.command("show")(show)


@app.command()
def export(
    dir: Directory,
    node: Annotated[
        str | None, typer.Option(help="Path (0-1) or name of the last stage; the best by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; standard output else.")
    ] = None,
) -> None:
    """Write the best path as a schedule that another search can replay (options.from)."""
    run = run_of(dir)
    last = node_of(run, node).name if node is not None else None
    try:
        document = schedule_of(run.search, list(run.nodes.values()), last)
    except ValueError as error:
        fail(f"{dir}: {error}")
    text = to_yaml(document.dump())
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output}: cannot be written: {error.strerror}", Exit.MACHINE)
    count = len(document.stages)
    console.print(
        f"{output}: {count} stage{'s' if count != 1 else ''}, replay with "
        f"strategy: {{name: schedule, options: {{from: {output}}}}}",
        highlight=False,
        soft_wrap=True,
    )
