"""``llmzero run`` and ``llmzero retrain``: a search on this machine."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from llmzero.api.search import TrainingSearch
from llmzero.api.spec import FAILURE_FLOOR
from llmzero.cli.agent_choice import choose, unreachable
from llmzero.cli.heard import agent_line
from llmzero.cli.load import load_search, refuse_missing
from llmzero.cli.output import Exit, Format, console, errors, fail, print_objects, run_of
from llmzero.cli.progress import Progress
from llmzero.cli.views import summary
from llmzero.client.endpoints import Endpoint
from llmzero.client.proposer import EndpointProposer, SyncProposer
from llmzero.local.devices import slots
from llmzero.local.errors import RunError, UsageError
from llmzero.local.forkserver import Forkserver
from llmzero.local.launch import FreshProcess, Launcher
from llmzero.local.runner import Runner
from llmzero.local.store import RunDirectory, open_run, run_path
from llmzero.report.path import path_to, steps_taken

File = Annotated[
    Path, typer.Argument(help="Manifest of a TrainingSearch, YAML or JSON.", show_default=False)
]
Output = Annotated[Format | None, typer.Option("-o", "--output", help="Print the objects.")]
Fresh = Annotated[
    bool,
    typer.Option(
        help="Start every stage in a new Python, not from a preloaded one (always so on a GPU)."
    ),
]


def run(
    file: File,
    dir: Annotated[
        Path | None, typer.Option(help="Run directory; default runs/<name>.", show_default=False)
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Another strategy than the manifest's.", show_default=False)
    ] = None,
    agent: Annotated[
        str | None,
        typer.Option(
            help="URL of an agent service, a name from --agent-endpoints, or rules: no agent, "
            "whatever the manifest names.",
            show_default=False,
        ),
    ] = None,
    agent_endpoints: Annotated[
        Path | None,
        typer.Option(help="YAML file of agent endpoints: URL, token and CA files by name."),
    ] = None,
    fresh_process: Fresh = False,
    output: Output = None,
) -> None:
    """Search training trajectories on this machine; run again to go on where it stopped."""
    search = load_search(file, strategy, lambda found: dir or run_path(found.name))
    search, endpoints = choose(search, agent, agent_endpoints)
    run_search(search, dir or run_path(search.name), endpoints, fresh_process, output)


def run_search(
    search: TrainingSearch,
    directory: Path,
    endpoints: dict[str, Endpoint],
    fresh_process: bool,
    output: Format | None,
) -> RunDirectory:
    """Run to the end, print it, and exit with the code that says how it ended."""
    run_directory = _open(directory, search)
    progress = Progress(console if output is None else errors, run_directory.search)
    try:
        with progress:
            _greet(run_directory, progress)
            if search_is_open(run_directory.search) and (
                warning := unreachable(run_directory.search, endpoints)
            ):
                progress.warn(warning)
            runner = Runner(
                run_directory,
                _launcher(run_directory, fresh_process),
                progress,
                asker=lambda: SyncProposer(EndpointProposer(endpoints)),
            )
            status = runner.run()
    except UsageError as error:
        fail(str(error))
    except RunError as error:
        fail(
            f"{error}\nNothing that ended is lost: mend it and run the same command.", Exit.MACHINE
        )
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    nodes = list(run_directory.nodes.values())
    if output is not None:
        print_objects(run_directory.search, nodes, output)
        if line := agent_line(run_directory.search, nodes):
            errors.print(line, highlight=False, markup=False)
    else:
        console.print(summary(run_directory.search, nodes))
    if status.phase == "Failed":
        raise typer.Exit(Exit.SEARCH_FAILED)
    if status.phase == "Suspended":
        errors.print("[yellow]suspended:[/] set spec.suspend to false and run again to go on")
    elif status.phase != "Complete":
        errors.print("[yellow]interrupted:[/] run the same command to go on")
    if status.phase != "Complete":
        raise typer.Exit(Exit.INTERRUPTED)
    return run_directory


def retrain(
    dir: Annotated[Path, typer.Argument(help="Run directory of a complete search.")],
    to: Annotated[
        Path | None,
        typer.Option(help="Directory of the new run; default <dir>-retrain.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fresh seed; default the search's + 1.", show_default=False)
    ] = None,
    fresh_process: Fresh = False,
    output: Output = None,
) -> None:
    """Run the winning path once more from the base with a fresh seed.

    What the *strategy* is worth, apart from the lucky checkpoint.
    """
    run_directory = run_of(dir)
    search, best = run_directory.search, run_directory.search.status.best
    if search.status.phase != "Complete" or best is None:
        fail(f"{dir}: the search is {search.status.phase}; a winner is there once it is Complete")
    path = path_to(list(run_directory.nodes.values()), best.node)
    stages: list[dict[str, Any]] = [
        {
            "parameters": dict(node.spec.parameters),
            "steps": node.spec.steps if below is None else steps_taken(node, below),
            "carryOptimizer": node.spec.carry_optimizer,
            "carryReference": node.spec.carry_reference,
        }
        for node, below in zip(path, [*path[1:], None], strict=False)
    ]
    spec = search.spec
    schedule = spec.strategy.with_(
        name="schedule",
        options={"stages": stages},
        parallelism=1,
        max_depth=max(spec.strategy.max_depth, len(stages)),
        seed=spec.strategy.seed + 1 if seed is None else seed,
        candidates=1,
    )
    # A stage is charged a quarter at least, however short.
    total = sum(max(s["steps"] / spec.stage.steps, FAILURE_FLOOR) for s in stages)
    again = TrainingSearch(
        metadata=search.metadata.model_copy(update={"name": f"{search.name[:27]}-re"}),
        spec=spec.with_(
            strategy=schedule,
            agent=None,
            budget=spec.budget.with_(stages=total, gpu_hours=None, tokens=None, deadline=None),
        ),
    )
    target = to or dir.with_name(f"{dir.name}-retrain")
    refuse_missing(dir, again, target)
    done = run_search(again, target, {}, fresh_process, output)
    if output is None:
        _compare(search, done.search)


def _compare(first: TrainingSearch, second: TrainingSearch) -> None:
    """The checkpoint's gain and the strategy's gain, both on the held-out split."""
    for what, search in (("checkpoint", first), ("strategy", second)):
        readings = {r.subject: r for r in search.status.held_out}
        winner, base = readings.get("winner"), readings.get("base")
        if winner is None or base is None:
            console.print(f"the {what}'s gain: no held-out reading")
            continue
        error = base.difference_error or 0.0
        console.print(
            f"the {what}'s gain over the base: [bold]{winner.value - base.value:+.3f} ± "
            f"{error:.3f}[/] ({base.value:.3f} → {winner.value:.3f} at stage {winner.path})"
        )


def _open(directory: Path, search: TrainingSearch) -> RunDirectory:
    try:
        return open_run(directory, search, datetime.now(UTC))
    except UsageError as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), Exit.MACHINE)


def _greet(run_directory: RunDirectory, progress: Progress) -> None:
    spec = run_directory.search.spec
    where = ", ".join(s.name for s in slots(spec.strategy.parallelism))
    known = len(run_directory.nodes)
    progress.say(
        f"{run_directory.search.name}: {spec.strategy.name}, {spec.budget.stages:g} stages, "
        f"on {where}, in {run_directory.path}"
        + (f" (going on, {known} stages known)" * bool(known))
    )
    if search_is_open(run_directory.search):
        progress.say("the trainer is loading (torch, transformers, TRL)")


def search_is_open(search: TrainingSearch) -> bool:
    return search.status.phase not in ("Complete", "Failed")


def _launcher(run_directory: RunDirectory, fresh_process: bool) -> Launcher:
    on_cpu = all(s.cpu for s in slots(run_directory.search.spec.strategy.parallelism))
    if fresh_process or not on_cpu:
        return FreshProcess(run_directory.stages)
    return Forkserver(run_directory.stages)
