"""One stage as a terminal shows it."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from llmzero.api.stage import StageNode
from llmzero.cli.heard import answered_rows
from llmzero.cli.views import changed, number, score


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
        *answered_rows(node),
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
