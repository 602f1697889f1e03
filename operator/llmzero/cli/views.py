"""Objects as a terminal shows them: the tree, a stage, the best trajectory, the confirmation."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from llmzero.api.base import Scalar
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Outcome, Phase, Purpose, Result, StageNode
from llmzero.cli.heard import agent_line
from llmzero.report.path import best_path, gain

_MARK = {
    Phase.PENDING: ("·", "dim"),
    Phase.QUEUED: ("◌", "cyan"),
    Phase.RUNNING: ("▶", "cyan"),
    Phase.STOPPING: ("■", "yellow"),
    Phase.SUCCEEDED: ("✔", "green"),
    Phase.STOPPED: ("✂", "yellow"),
    Phase.FAILED: ("✘", "red"),
}
_SPLIT = {Purpose.PROMOTE: "promotion split", Purpose.HELD_OUT: "held-out split"}


def number(value: Scalar | None) -> str:
    """A parameter's value, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def score(result: Result | None) -> str:
    return f"{result.value:.3f} ± {result.standard_error:.3f}" if result else ""


def changed(node: StageNode, first: str = "initial settings") -> str:
    """``learning_rate 1e-05 → 3e-05, ...``; ``continue`` for nothing."""
    if not node.spec.changes:
        return first if node.spec.parent is None else "continue"
    return ", ".join(f"{c.name} {number(c.old)} → {number(c.new)}" for c in node.spec.changes)


def bar(share: float, width: int = 10) -> str:
    """A progress bar of ``width`` cells."""
    full = round(min(max(share, 0.0), 1.0) * width)
    return "━" * full + "╌" * (width - full)


def stage_line(node: StageNode, best: str | None) -> Text:
    """One stage in one line: mark, path, value or progress, what changed, what was found."""
    status = node.status
    mark, style = _MARK[status.phase]
    line = Text.assemble((mark, style), " ", (node.spec.path, "bold"), "  ")
    if status.result is not None:
        line.append(score(status.result), "green" if status.phase is Phase.SUCCEEDED else "yellow")
    elif status.phase is Phase.QUEUED:
        line.append("starting", "cyan")
    elif status.phase in (Phase.RUNNING, Phase.STOPPING):
        done = status.step / max(node.spec.steps, 1)
        line.append(f"{bar(done)} {status.step}/{node.spec.steps}", "cyan")
    line.append(f"  {changed(node)}", "default")
    if status.pathologies:
        line.append("  " + ", ".join(str(p.kind) for p in status.pathologies), "magenta")
    if status.phase is Phase.FAILED:
        line.append(f"  {status.outcome}", "red")
    if status.phase is Phase.PENDING and status.reason:
        why = f": {status.message[:120]}" if status.message else ""
        line.append(f"  ↻ {status.reason}{why}", "yellow")
    if node.name == best:
        line.append("  ← best", "bold yellow")
    return line


def started_line(node: StageNode) -> Text:
    """An attempt begins."""
    again = f" (attempt {node.status.attempt_count})" if node.status.attempt_count > 1 else ""
    if node.spec.purpose is not Purpose.TRAIN:
        return Text(f"▶ {node.spec.path}  is scored on the {_SPLIT[node.spec.purpose]}{again}")
    return Text(f"▶ {node.spec.path}  starts: {changed(node)}{again}")


def ended_line(node: StageNode, nodes: Mapping[str, StageNode]) -> Text:
    """How an attempt ended, and what it gave over the stage above."""
    status = node.status
    if not status.phase.final:
        why = f": {status.message}" if status.message else ""
        again = f"↻ {node.spec.path}  will be tried again ({status.reason}{why})"
        return Text(again, "yellow")
    mark, style = _MARK[status.phase]
    line = Text.assemble((mark, style), " ", (node.spec.path, "bold"), f"  {score(status.result)}")
    if node.spec.purpose is not Purpose.TRAIN:
        line.append(f" on the {_SPLIT[node.spec.purpose]}")
    elif (gained := gain(node, nodes.get(node.spec.parent or ""))) is not None:
        line.append(f" ({gained:+.3f})")
    if status.outcome is not Outcome.SUCCEEDED:
        line.append(f"  {status.outcome}: {status.message}", style)
    if status.pathologies:
        line.append("  " + ", ".join(str(p.kind) for p in status.pathologies), "magenta")
    return line


def tree(search: TrainingSearch, nodes: Iterable[StageNode], lines: int | None = None) -> Tree:
    """The tree of stages; at most ``lines`` of them, those that matter now."""
    best = search.status.best.node if search.status.best else None
    stages = sorted(
        (n for n in nodes if n.spec.purpose is Purpose.TRAIN),
        key=lambda n: [int(p) for p in n.spec.path.split("-")],
    )
    model = search.spec.model.path or search.spec.model.builtin
    root = Tree(f"[bold]{escape(search.name)}[/]  [dim]base model {escape(str(model))}[/]")
    branches: dict[str | None, Tree] = {None: root}
    shown = set(range(len(stages))) if lines is None else _foremost(stages, best, lines)
    for place, node in enumerate(stages):
        if place in shown:
            line = stage_line(node, best)
            if lines is not None:
                line.no_wrap, line.overflow = True, "ellipsis"
            branches[node.name] = branches.get(node.spec.parent, root).add(line)
    if len(shown) < len(stages):
        root.add(f"[dim]… {len(stages) - len(shown)} more[/]")
    return root


def _foremost(stages: Sequence[StageNode], best: str | None, lines: int) -> set[int]:
    """The stages under way, the best, and the latest, each with the stages above it."""
    places = {n.name: i for i, n in enumerate(stages)}

    def urgency(node: StageNode) -> tuple[bool, bool, int]:
        done = node.status.phase.final
        return (done, node.name != best, -(node.status.sequence or 0))

    shown: set[int] = set()
    for node in sorted(stages, key=urgency):
        path: set[int] = set()
        name: str | None = node.name
        while name in places and places[name] not in path:
            path.add(places[name])
            name = stages[places[name]].spec.parent
        if len(shown | path) > max(lines, 1):
            break
        shown |= path
    return shown


def strategy_table(search: TrainingSearch, nodes: Sequence[StageNode]) -> Table:
    """The best trajectory: stage by stage, what changed, why, what it gave."""
    table = Table(title="Best trajectory", title_justify="left", expand=False)
    for name in ("stage", "steps", "what changed", "why", search.spec.objective.metric, "gain"):
        right = name in ("steps", "gain", search.spec.objective.metric)
        table.add_column(name, justify="right" if right else "left", no_wrap=name == "stage")
    for step in best_path(search, nodes):
        node = step.node
        values = ""
        if node.spec.parent is None:
            values = ", ".join(f"{k} {number(v)}" for k, v in node.spec.parameters.items())
        table.add_row(
            node.spec.path,
            str(step.steps),
            escape(values or changed(node)),
            escape(node.spec.provenance.rationale or node.spec.provenance.proposer),
            score(node.status.result),
            f"{step.gain:+.3f}" if step.gain is not None else "",
        )
    return table


def held_out_table(search: TrainingSearch) -> Table | None:
    """The held-out confirmation; None before it was read."""
    readings = search.status.held_out
    if not readings:
        return None
    questions = readings[0].questions
    table = Table(title=f"Held-out confirmation, {questions} questions", title_justify="left")
    for name in ("", "stage", search.spec.objective.metric, "winner minus this (paired)"):
        table.add_column(name, justify="left" if name in ("", "stage") else "right")
    for r in readings:
        difference = ""
        if r.difference is not None:
            difference = f"{r.difference:+.3f} ± {r.difference_error or 0:.3f}"
        again = f" (reading {r.reading})" if r.reading > 1 else ""
        table.add_row(
            r.subject + again, r.path or "-", f"{r.value:.3f} ± {r.standard_error:.3f}", difference
        )
    return table


def budget_line(search: TrainingSearch) -> str:
    """Where the budget stands, in one line."""
    ledger, budget = search.status.ledger, search.spec.budget
    parts = [f"budget {ledger.stages_spent:.2f} of {budget.stages:g} stages"]
    if budget.gpu_hours is not None:
        parts.append(f"{ledger.gpu_hours:.2f} of {budget.gpu_hours:g} device hours")
    if budget.tokens is not None:
        generated = ledger.train_tokens + ledger.eval_tokens
        parts.append(f"{generated:,} of {budget.tokens:,} tokens")
    if ledger.early_stopped:
        parts.append(
            f"{ledger.early_stopped} stopped early (saved {ledger.saved_by_stopping:.2f} stages)"
        )
    if ledger.failures:
        parts.append(f"{ledger.failures} of {budget.failures} failures")
    return ", ".join(parts)


def age(seconds: float) -> str:
    """As kubectl writes ages: ``42s``, ``7m``, ``3h``, ``12d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def searches_table(
    searches: Sequence[TrainingSearch], now: datetime, namespaces: bool = False
) -> Table:
    """One line a search, as ``kubectl get`` shows lists."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    right = ("BUDGET", "STAGES", "BEST", "AGE")
    names = ("NAME", "STRATEGY", "PHASE", "STAGES", "BUDGET", "BEST", "STAGE", "AGE")
    for name in ("NAMESPACE", *names) if namespaces else names:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for search in searches:
        status, spec, born = search.status, search.spec, search.metadata.creation_timestamp
        best, counts = status.best, status.counts
        ended = counts.succeeded + counts.stopped + counts.failed
        cells = (
            escape(search.name),
            spec.strategy.name,
            str(status.phase),
            f"{ended}/{ended + counts.pending + counts.queued + counts.running}",
            f"{status.ledger.stages_spent:.2f}/{spec.budget.stages:g}",
            f"{best.value:.3f} ± {best.standard_error:.3f}" if best else "-",
            best.path if best else "-",
            age((now - born).total_seconds()) if born else "-",
        )
        table.add_row(*((search.metadata.namespace or "", *cells) if namespaces else cells))
    return table


def summary(search: TrainingSearch, nodes: Sequence[StageNode]) -> RenderableType:
    """The end of a run: tree, best trajectory, confirmation."""
    parts: list[RenderableType] = [tree(search, nodes), ""]
    if search.status.best is not None:
        parts += [strategy_table(search, nodes), ""]
    confirmed = held_out_table(search)
    if confirmed is not None:
        parts += [confirmed, ""]
    parts.append(Text(f"{search.status.phase}: {search.status.message or budget_line(search)}"))
    if line := agent_line(search, nodes):
        parts.append(Text(line))
    return Group(*parts)
