"""``llmzero bench``: methods compared at equal cost, in simulated worlds or by real training."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from llmzero.api.manifest import ManifestError
from llmzero.bench.methods import METHODS, OURS, method
from llmzero.bench.results import Experiment, Results
from llmzero.bench.simulated import TOKENS, Simulated
from llmzero.bench.statistics import Interval, Line, compare
from llmzero.bench.trained import Trained
from llmzero.cli.load import load_search
from llmzero.cli.output import Exit, console, errors, fail
from llmzero.simulator import FAMILIES, TUNED
from llmzero.simulator.problems import DEFAULT_DEPTH, DEFAULT_PARALLELISM, DEFAULT_STAGES


def bench(
    task: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest to train for real, again and again; none: simulated worlds."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=10_000, help="Paired seeds a task.")] = 20,
    methods: Annotated[
        str, typer.Option(help="Names, separated by commas; ablations too.")
    ] = ",".join(METHODS),
    families: Annotated[
        str, typer.Option(help=f"Simulated worlds, of {', '.join(FAMILIES)}.")
    ] = ",".join(TUNED),
    stages: Annotated[
        float | None,
        typer.Option(
            min=1,
            help=f"Budget of every search in full stages; default {DEFAULT_STAGES:g}, or the manifest's.",
        ),
    ] = None,
    tokens: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="Budget in millions of tokens, to train on and to be scored, beside --stages; "
            f"default {TOKENS:g}, or the manifest's.",
        ),
    ] = None,
    depth: Annotated[
        int, typer.Option(min=1, max=64, help="strategy.maxDepth in simulated worlds.")
    ] = DEFAULT_DEPTH,
    parallelism: Annotated[
        int, typer.Option(min=1, max=64, help="Stages at once in simulated worlds.")
    ] = DEFAULT_PARALLELISM,
    first_seed: Annotated[int, typer.Option(min=0, help="First of the seeds.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Searches at the same time.")] = 1,
    reference: Annotated[str, typer.Option(help="Whom the others are compared with.")] = OURS,
    dir: Annotated[Path, typer.Option(help="Where real runs lie.")] = Path("runs/bench"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Results file; what it holds is not run again."),
    ] = None,
) -> None:
    """Compare search methods at equal cost, in simulated worlds or (--task) by real training."""
    names = _names(methods)
    if not names:
        fail(f"--methods: found none, known are {', '.join(METHODS)}", Exit.USAGE)
    try:
        for name in [*names, reference]:
            method(name)
        experiment, tasks = _experiment(
            task, dir, _names(families), stages, tokens, depth, parallelism
        )
        results = Results(experiment, output)
    except (OSError, ManifestError, ValueError) as error:
        fail(str(error), Exit.USAGE)
    wanted = range(first_seed, first_seed + seeds)
    keys = [(t, m, s) for s in wanted for t in tasks for m in names]
    try:
        for done, total in results.fill(keys, jobs):
            if errors.is_terminal and (task or done % 10 == 0 or done == total):
                errors.print(f"{done} of {total} searches", end="\r")
    except RuntimeError as error:
        fail(str(error), Exit.MACHINE)
    finally:
        results.write()
    table = results.table(tasks, names, list(wanted))
    title = f"{seeds} seeds, {experiment.kind}: {experiment.what}"
    groups = [[t] for t in tasks] + ([tasks] if len(tasks) > 1 else [])
    for group in groups:
        console.print(
            _table(compare(table, reference, group), reference, f"{' + '.join(group)}: {title}")
        )
    for name in names:
        words = _stopping([table[t][name] for t in tasks])
        if words:
            console.print(f"{name}: {words}", highlight=False)


def _experiment(
    files: Iterable[Path] | None,
    directory: Path,
    families: list[str],
    stages: float | None,
    tokens: float | None,
    depth: int,
    parallelism: int,
) -> tuple[Experiment, list[str]]:
    if files:
        for file in files:
            load_search(file)
        trained = Trained.of(files, directory, stages, tokens)
        return trained, list(trained.tasks)
    unknown = [w for w in families if w not in FAMILIES]
    if unknown or not families:
        found = repr(unknown[0]) if unknown else "none"
        raise ValueError(f"--families: found {found}, known are {', '.join(FAMILIES)}")
    budget = stages or DEFAULT_STAGES, tokens or TOKENS
    return Simulated(*budget, depth, parallelism), families


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
    share = total["saved"] / (total["saved"] + total["spent"])
    words = f"early stopping ended {total['stopped']} stages and saved {share:.0%} of the steps"
    if any("stopped_wrongly" not in c for c in columns):
        return words
    wrongly = sum(sum(c["stopped_wrongly"]) for c in columns)
    return f"{words}; {wrongly} of the stops ({wrongly / total['stopped']:.0%}) were wrong"


def _number(found: Interval, digits: int = 3) -> str:
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _percent(found: Interval) -> str:
    text = f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]".replace("inf%", "∞")
    colour = "green" if found.above_zero else "red" if found.below_zero else ""
    return f"[{colour}]{text}[/]" if colour else text
