"""The entry point of ``llmzero``; ``kubectl llmzero`` is :mod:`llmzero.cli.kubectl`."""

import importlib
import sys

import typer

from llmzero.cli import inspect, strategy
from llmzero.cli.agent_report import agent_report
from llmzero.cli.analyze import analyze
from llmzero.cli.approve import approve, reject
from llmzero.cli.bench import bench
from llmzero.cli.output import Version, called
from llmzero.cli.run import retrain, run

LAZY = {
    "agent": ("llmzero.cli.agent", "The agent service, and what it would be asked."),
    "operator": ("llmzero.cli.operator", "The Kubernetes operator."),
}
"""Groups whose libraries (FastAPI, kopf) are imported only when they are called."""

app = typer.Typer(
    name="llmzero",
    help="Tree search over RL post-training trajectories.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(inspect.tree)
app.command()(inspect.show)
app.add_typer(
    strategy.app,
    name="strategy",
    help="The best trajectory: show it (the verb may be left out), or export it.",
)
app.command()(inspect.report)
app.command()(inspect.validate)
app.command()(retrain)
app.command()(analyze)
app.command()(approve)
app.command()(reject)
app.command()(agent_report)
app.command()(bench)


@app.callback()
def _options(version: Version = False) -> None:
    pass


def _add_lazy(called: str | None) -> None:
    for name, (module, text) in LAZY.items():
        if called == name:
            app.add_typer(importlib.import_module(module).app, name=name, help=text)
        else:
            app.add_typer(typer.Typer(), name=name, help=text)


def main() -> None:
    """Runs the command line."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    _add_lazy(words[0] if words else None)
    called(app)


if __name__ == "__main__":
    main()
