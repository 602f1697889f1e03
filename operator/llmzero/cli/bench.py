"""``llmzero bench``: methods compared at equal cost, in simulated worlds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llmzero.bench.methods import METHODS, OURS, method
from llmzero.bench.simulated import Protocol, Results
from llmzero.bench.statistics import Interval, Line, compare
from llmzero.cli.output import Exit, console, errors, fail
from llmzero.simulator import FAMILIES, TUNED


def bench(
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Paired seeds a family.")] = 20,
    methods: Annotated[
        str, typer.Option(help="Names, separated by commas; ablations too.")
    ] = ",".join(METHODS),
    families: Annotated[
        str, typer.Option(help=f"Simulated worlds, of {', '.join(FAMILIES)}.")
    ] = ",".join(TUNED),
    stages: Annotated[float, typer.Option(min=1, help="Budget of every search.")] = 24,
    depth: Annotated[int, typer.Option(min=1, max=64, help="strategy.maxDepth.")] = 6,
    parallelism: Annotated[int, typer.Option(min=1, max=64)] = 2,
    first_seed: Annotated[int, typer.Option(min=0, help="First of the seeds.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    reference: Annotated[str, typer.Option(help="Whom the others are compared with.")] = OURS,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Results file; what it holds is not run again."),
    ] = None,
) -> None:
    """Compare search methods in simulated worlds. No model is trained."""
    names, worlds = _names(methods), _names(families)
    try:
        for name in [*names, reference]:
            method(name)
        unknown = [w for w in worlds if w not in FAMILIES]
        if unknown:
            raise ValueError(f"--families: found {unknown[0]!r}, known are {', '.join(FAMILIES)}")
        results = Results(Protocol(stages, depth, parallelism), output)
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    wanted = range(first_seed, first_seed + seeds)
    keys = [(f, m, s) for s in wanted for f in worlds for m in names]
    for done, total in results.fill(keys, jobs):
        if errors.is_terminal and (done % 10 == 0 or done == total):
            errors.print(f"{done} of {total} searches", end="\r")
    table = results.table(worlds, names, list(wanted))
    title = f"{seeds} seeds, {stages:g} stages, {parallelism} at once; simulated, no model trained"
    groups = [[w] for w in worlds] + ([worlds] if len(worlds) > 1 else [])
    for group in groups:
        console.print(
            _table(compare(table, reference, group), reference, f"{' + '.join(group)}: {title}")
        )
    for name in names:
        words = _stopping([table[w][name] for w in worlds])
        if words:
            console.print(f"{name}: {words}", highlight=False)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _table(lines: Sequence[Line], reference: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("method")
    for name in (
        "score (IQM)",
        "area under best so far",
        f"{reference} leads by",
        f"P({reference} better)",
    ):
        table.add_column(name, justify="right")
    for line in lines:
        table.add_row(
            line.name,
            _number(line.score),
            _number(line.area),
            "" if line.lead is None else _percent(line.lead),
            "" if line.improvement is None else _number(line.improvement, 2),
        )
    return table


def _stopping(columns: Sequence[Mapping[str, Sequence[Any]]]) -> str:
    """What early stopping did, over all searches of one method; nothing where it never did."""
    total = {k: sum(sum(c[k]) for c in columns) for k in ("saved", "spent", "stopped")}
    if not total["stopped"]:
        return ""
    wrongly = sum(sum(c["stopped_wrongly"]) for c in columns)
    return (
        f"early stopping saved {total['saved'] / (total['saved'] + total['spent']):.0%} of the steps; "
        f"{wrongly} of {total['stopped']} stops ({wrongly / total['stopped']:.0%}) were wrong"
    )


def _number(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _percent(found: Interval) -> str:
    text = f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
    colour = "green" if found.above_zero else "red" if found.below_zero else ""
    return f"[{colour}]{text}[/]" if colour else text
