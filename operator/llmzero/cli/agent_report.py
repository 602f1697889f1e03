"""``llmzero agent-report``: were the agent's forecasts any good, and what did they take?"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from llmzero.agent.calibration import calibration, forecasts, spending
from llmzero.api.manifest import to_yaml
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.cli.heard import agent_line
from llmzero.cli.output import Format, console, fail, run_of


def agent_report(
    source: Annotated[
        Path, typer.Argument(help="A run directory, or a List as kubectl get -o json prints it.")
    ],
    output: Annotated[
        Format | None, typer.Option("--output", "-o", help="json or yaml, not tables.")
    ] = None,
) -> None:
    """Score the forecasts of SOURCE against what happened, and add up what decisions took."""
    search, nodes = _objects(source)
    rows = calibration(forecasts(nodes, search.spec.objective.metric))
    spent = spending(nodes)
    if output is not None:
        data = {"calibration": [r.dump() for r in rows], "spending": [s.dump() for s in spent]}
        typer.echo(json.dumps(data, indent=2) if output is Format.JSON else to_yaml(data))
        return
    table = Table("agent", "metric", "n", "expected", "observed", "error", "sign", "within 2 se")
    for r in rows:
        within = "" if r.within_two_errors is None else f"{r.within_two_errors:.0%}"
        table.add_row(
            escape(r.agent),
            escape(r.metric),
            str(r.forecasts),
            f"{r.expected:+.4g}",
            f"{r.observed:+.4g}",
            f"{r.mean_absolute_error:.4g}",
            f"{r.right_sign:.0%}",
            within,
        )
    console.print("Forecasts beside the sibling that went on unchanged")
    console.print(table if rows else "none could be scored yet")
    ledger = Table("agent", "decisions", "repaired", "tokens in", "out", "dollars", "seconds")
    for s in spent:
        ledger.add_row(
            escape(s.agent),
            str(s.decisions),
            str(s.repaired),
            str(s.input_tokens),
            str(s.output_tokens),
            f"{s.dollars:.4f}",
            f"{s.seconds:.1f}",
        )
    console.print("Decisions")
    console.print(ledger if spent else "none was stored")
    if line := agent_line(search, nodes):
        console.print(line, highlight=False, markup=False)


def _objects(source: Path) -> tuple[TrainingSearch, list[StageNode]]:
    if source.is_dir():
        run = run_of(source)
        return run.search, list(run.nodes.values())
    try:
        items = json.loads(source.read_bytes())["items"]
        searches = [
            TrainingSearch.model_validate(i) for i in items if i["kind"] == "TrainingSearch"
        ]
        nodes = [StageNode.model_validate(i) for i in items if i["kind"] == "StageNode"]
    except OSError as error:
        fail(f"{source}: {error.strerror}")
    except (ValueError, LookupError, TypeError):
        fail(f"{source}: a run directory or a v1 List of a TrainingSearch and its StageNodes")
    if len(searches) != 1:
        fail(f"{source}: found {len(searches)} TrainingSearch objects, exactly one is needed")
    return searches[0], [n for n in nodes if n.spec.search.uid == searches[0].metadata.uid]
