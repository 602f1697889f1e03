"""``kubectl llmzero``: the commands of ``llmzero`` on the searches of a cluster."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, StageNode
from llmzero.cli import looks
from llmzero.cli.approve import Nodes
from llmzero.cli.flags import cluster_flags
from llmzero.cli.inspect import Node, Output, Page
from llmzero.cli.output import Exit, Version, console, errors, fail, print_list
from llmzero.cli.progress import Progress
from llmzero.cli.source import Source, node_of
from llmzero.cli.stage_view import stage_view
from llmzero.cli.strategy import Last, Schedule, ShowsByDefault
from llmzero.cli.views import searches_table
from llmzero.controller.kube import Kube
from llmzero.controller.transport import ApiError
from llmzero.kubectl import searches
from llmzero.kubectl.access import Access, Place, find
from llmzero.kubectl.live import live
from llmzero.kubectl.logs import NoLog, print_log
from llmzero.kubectl.trouble import Mistake, Trouble, explained

T = TypeVar("T")
Search = Annotated[str, typer.Argument(help="Name of a TrainingSearch.", show_default=False)]
WORK = {True: "running stages are interrupted now", False: "running stages end first"}

app = typer.Typer(
    help="The searches of a cluster: their trees, stages, logs, and your word on them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
strategy_app = typer.Typer(cls=ShowsByDefault, no_args_is_help=True)


@app.callback()
@cluster_flags
def _options(access: Access, version: Version = False) -> None:
    pass


@app.command("list")
@cluster_flags
def list_searches(
    access: Access,
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")
    ] = False,
    output: Output = None,
) -> None:
    """List the searches of a namespace."""

    async def work(kube: Kube, place: Place) -> tuple[list[TrainingSearch], str]:
        namespace = None if all_namespaces else place.namespace
        found, _ = await searches.all_of(kube, TrainingSearch, namespace)
        return found, place.namespace

    found, namespace = ask(access, work)
    if output is not None:
        print_list(found, output)
    elif found:
        console.print(searches_table(found, datetime.now(UTC), all_namespaces))
    else:
        _say("no searches" + ("" if all_namespaces else f" in namespace {namespace}"))


@app.command()
@cluster_flags
def tree(
    access: Access,
    search: Search,
    output: Output = None,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Live, until the search ends.")
    ] = False,
) -> None:
    """Show the tree of stages."""
    if not watch:
        looks.show_tree(read(access, search), output)
        return
    if output is not None:
        fail("-w shows a picture; for objects: kubectl get ts,sn -w -o json")
    source = ask(access, lambda kube, place: _watch(kube, place, search))
    looks.show_tree(source, None)
    if source.search.status.phase == "Failed":
        raise typer.Exit(Exit.SEARCH_FAILED)


@app.command()
@cluster_flags
def show(access: Access, search: Search, node: Node, output: Output = None) -> None:
    """Show one stage: what it ran with, what was found, what it gave."""
    looks.show_stage(read(access, search), node, output)


@strategy_app.command("show")
@cluster_flags
def strategy(access: Access, search: Search, output: Output = None) -> None:
    """Show the best trajectory stage by stage: what changed, why, what it gave."""
    looks.show_strategy(read(access, search), output)


@strategy_app.command()
@cluster_flags
def export(access: Access, search: Search, node: Last = None, output: Schedule = None) -> None:
    """Write the best path as a schedule that another search can replay (options.from)."""
    looks.export_strategy(read(access, search), node, output)


app.add_typer(strategy_app, name="strategy", help="The best trajectory: show it, or export it.")


@app.command()
@cluster_flags
def report(access: Access, search: Search, output: Page = Path("report.html")) -> None:
    """Write the search as one self-contained HTML page."""
    looks.write_report(read(access, search), output)


@app.command()
@cluster_flags
def logs(
    access: Access,
    search: Search,
    node: Node,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Until the stage ends, through all attempts.")
    ] = False,
) -> None:
    """Print the log of a stage: records (JSON lines) and what the trainer says."""
    found = node_of(read(access, search), node)

    async def work(kube: Kube, place: Place) -> None:
        try:
            await print_log(kube, place.namespace, found, follow, _line, _say)
        except NoLog as error:
            _say(f"{error}. This is stored:")
            errors.print(stage_view(found))
            raise typer.Exit(Exit.MACHINE) from None

    ask(access, work)


@app.command()
@cluster_flags
def approve(access: Access, search: Search, nodes: Nodes = None) -> None:
    """Let the waiting proposals of stages go; without a stage, list them."""
    _decide(access, search, nodes or [], True)


@app.command()
@cluster_flags
def reject(access: Access, search: Search, nodes: Nodes = None) -> None:
    """Refuse the waiting proposals of stages; without a stage, list them."""
    _decide(access, search, nodes or [], False)


@app.command()
@cluster_flags
def stop(
    access: Access,
    search: Search,
    now: Annotated[
        bool | None,
        typer.Option(
            "--now/--drain",
            help="Interrupt running stages (suspendPolicy: Stop), or let them end (Drain); "
            "default: as the search says.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Suspend a search: nothing new starts until it is resumed."""
    policy = {True: "Stop", False: "Drain", None: None}[now]
    found = _suspend(access, search, True, policy)
    interrupted = found.spec.suspend_policy == "Stop"
    console.print(
        f"{search}: suspended; {WORK[interrupted]} (suspendPolicy: {found.spec.suspend_policy}). "
        f"Go on with: kubectl llmzero resume {search}",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
@cluster_flags
def resume(access: Access, search: Search) -> None:
    """Let a suspended search go on."""
    found = _suspend(access, search, False, None)
    ended = found.status.phase in ("Complete", "Failed")
    more = f"; it is {found.status.phase}, raise spec.budget to go on" if ended else ""
    console.print(f"{search}: not suspended{more}", highlight=False, soft_wrap=True)


def read(access: Access, search: str) -> Source:
    """A search and its stages from the cluster, or an error and exit."""

    async def work(kube: Kube, place: Place) -> Source:
        seen = await searches.read(kube, place.namespace, search)
        return Source(f"search {search}", seen.search, seen.nodes)

    return ask(access, work)


def ask(access: Access, work: Callable[[Kube, Place], Awaitable[T]]) -> T:
    """Runs ``work`` on the cluster that the flags name; trouble is an error and an exit code."""

    async def connected() -> T:
        place = await find(access)
        try:
            async with Kube(place.settings) as kube:
                return await work(kube, place)
        except ApiError as error:
            raise explained(error, place.server, place.context) from error

    try:
        return asyncio.run(connected())
    except Mistake as error:
        fail(str(error))
    except Trouble as error:
        fail(str(error), Exit.MACHINE)
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _decide(access: Access, search: str, wanted: list[str], approved: bool) -> None:
    def tell(node: StageNode) -> None:
        ask(access, lambda kube, place: searches.decide(kube, place.namespace, node, approved))

    looks.decide(read(access, search), wanted, approved, tell)


def _suspend(access: Access, search: str, suspended: bool, policy: str | None) -> TrainingSearch:
    return ask(
        access,
        lambda kube, place: searches.suspend(kube, place.namespace, search, suspended, policy),
    )


async def _watch(kube: Kube, place: Place, name: str) -> Source:
    """Shows a search until it ends, as ``llmzero run`` does."""
    seen = await searches.read(kube, place.namespace, name)
    phases = {n.name: n.status.phase for n in seen.nodes.values()}
    with Progress(console, seen.search) as progress:
        async for _ in live(kube, place.namespace, seen):
            progress.update(seen.search, seen.nodes)
            for node in seen.nodes.values():
                before, after = phases.get(node.name), node.status.phase
                phases[node.name] = after
                if after is not before and after is Phase.RUNNING:
                    progress.started(node)
                elif after is not before and after.final:
                    progress.ended(node)
    return Source(f"search {name}", seen.search, seen.nodes)


def _line(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _say(text: str) -> None:
    errors.print(text, highlight=False, markup=False, soft_wrap=True)
