"""Objects as a terminal shows them: the tree, a stage, the best trajectory, the confirmation."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from llmzero.api.base import Scalar
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Phase, Purpose, Result, StageNode
from llmzero.report.path import best_path

_MARK = {
    Phase.PENDING: ("·", "dim"),
    Phase.QUEUED: ("◌", "cyan"),
    Phase.RUNNING: ("▶", "cyan"),
    Phase.STOPPING: ("■", "yellow"),
    Phase.SUCCEEDED: ("✔", "green"),
    Phase.STOPPED: ("✂", "yellow"),
    Phase.FAILED: ("✘", "red"),
}


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
    elif not status.phase.final and status.phase is not Phase.PENDING:
        line.append(f"{bar(status.step / max(node.spec.steps, 1))} {status.step}", "cyan")
    line.append(f"  {changed(node)}", "default")
    if status.pathologies:
        line.append("  " + ", ".join(str(p.kind) for p in status.pathologies), "magenta")
    if status.phase is Phase.FAILED:
        line.append(f"  {status.outcome}", "red")
    if node.name == best:
        line.append("  ← best", "bold yellow")
    return line


def tree(search: TrainingSearch, nodes: Iterable[StageNode]) -> Tree:
    """The tree of stages."""
    best = search.status.best.node if search.status.best else None
    stages = sorted(
        (n for n in nodes if n.spec.purpose is Purpose.TRAIN),
        key=lambda n: [int(p) for p in n.spec.path.split("-")],
    )
    model = search.spec.model.path or search.spec.model.builtin
    root = Tree(f"[bold]{escape(search.name)}[/]  [dim]base model {escape(str(model))}[/]")
    branches: dict[str | None, Tree] = {None: root}
    for node in stages:
        above = branches.get(node.spec.parent, root)
        branches[node.name] = above.add(stage_line(node, best))
    return root


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
            str(node.status.step or node.spec.steps),
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
    if ledger.early_stopped:
        parts.append(
            f"{ledger.early_stopped} stopped early (saved {ledger.saved_by_stopping:.2f} stages)"
        )
    if ledger.failures:
        parts.append(f"{ledger.failures} of {budget.failures} failures")
    return ", ".join(parts)


def summary(search: TrainingSearch, nodes: Sequence[StageNode]) -> RenderableType:
    """The end of a run: tree, best trajectory, confirmation."""
    parts: list[RenderableType] = [tree(search, nodes), ""]
    if search.status.best is not None:
        parts += [strategy_table(search, nodes), ""]
    confirmed = held_out_table(search)
    if confirmed is not None:
        parts += [confirmed, ""]
    parts.append(Text(f"{search.status.phase}: {search.status.message or budget_line(search)}"))
    return Group(*parts)


def stage_view(node: StageNode) -> RenderableType:
    """One stage in full."""
    spec, status = node.spec, node.status
    facts = Table.grid(padding=(0, 2))
    rows = [
        ("name", node.name),
        ("phase", f"{status.phase}" + (f" ({status.outcome})" if status.outcome else "")),
        ("message", status.message),
        ("value", score(status.result)),
        ("steps", f"{status.step} of {spec.steps}"),
        (
            "starts from",
            f"{spec.start.node} step {spec.start.step}" if spec.start else "base model",
        ),
        ("changes", changed(node)),
        ("proposed by", spec.provenance.proposer),
        ("why", spec.provenance.rationale),
        ("parameters", ", ".join(f"{k} {number(v)}" for k, v in spec.parameters.items())),
        ("checkpoints", ", ".join(map(str, status.checkpoints))),
        ("cost", f"{status.cost.stages:.2f} stages, {status.cost.device_seconds:.0f} s"),
        ("attempts", str(status.attempt_count)),
    ]
    for name, value in rows:
        if value:
            facts.add_row(f"[dim]{name}[/]", escape(value))
    parts: list[RenderableType] = [facts]
    if status.pathologies:
        found = Table(title="Pathologies", title_justify="left")
        for name in ("kind", "severity", "evidence"):
            found.add_column(name)
        for p in status.pathologies:
            found.add_row(str(p.kind), f"{p.severity:.2f}", escape(p.evidence))
        parts += ["", found]
    if status.curve.scores:
        scores = Table(title="Evaluations (search split)", title_justify="left")
        for name in ("step", "value", "questions"):
            scores.add_column(name, justify="right")
        for s in status.curve.scores:
            value = f"{s.value:.3f} ± {s.standard_error:.3f}"
            scores.add_row(str(s.step), value, str(s.questions))
        parts += ["", scores]
    return Group(*parts)
