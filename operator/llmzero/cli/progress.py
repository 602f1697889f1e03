"""Live progress of a run: the growing tree on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from llmzero.api.proposals import Answered, VerdictAnswer
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Outcome, Purpose, StageNode
from llmzero.cli.heard import News
from llmzero.cli.views import bar, budget_line, ended_line, started_line, tree

REFRESH_SECONDS = 0.5
MARGIN_LINES = 4
"""Lines of a terminal that the tree leaves to the headline and the prompt."""


def eta(search: TrainingSearch, elapsed: float, spent_before: float) -> str:
    """Time left by the rate so far, as ``~3 min left``; empty before a first stage ended."""
    spent = search.status.ledger.stages_spent
    left = search.spec.budget.stages - spent
    if spent - spent_before <= 0 or left <= 0:
        return ""
    seconds = elapsed / (spent - spent_before) * left
    return f"~{seconds / 60:.0f} min left" if seconds >= 90 else f"~{seconds:.0f} s left"


def headline(search: TrainingSearch, elapsed: float, spent_before: float) -> Text:
    """Budget, best so far, time."""
    ledger, budget, best = search.status.ledger, search.spec.budget, search.status.best
    line = Text.assemble(
        (bar(ledger.stages_spent / budget.stages, 24), "green"), f" {budget_line(search)}"
    )
    if best is not None:
        line.append(
            f" · best {best.value:.3f} ± {best.standard_error:.3f} (stage {best.path})", "bold"
        )
    line.append(f" · {elapsed:.0f} s")
    left = eta(search, elapsed, spent_before)
    if left:
        line.append(f", {left}")
    return line


class Progress:
    """Shows a run while it goes; use as a context."""

    def __init__(self, console: Console, search: TrainingSearch) -> None:
        self._console = console
        self._search = search
        self._nodes: Mapping[str, StageNode] = {}
        self._started = time.monotonic()
        self._spent_before = search.status.ledger.stages_spent
        self._refreshed = 0.0
        self._news = News()
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, search: TrainingSearch, nodes: Mapping[str, StageNode]) -> None:
        self._search, self._nodes = search, nodes
        now = time.monotonic()
        if self._live is None or now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now
        self._live.update(self._picture(), refresh=True)

    def started(self, node: StageNode) -> None:
        if self._live is None:  # on a terminal the tree shows it
            self._line(started_line(node))

    def ended(self, node: StageNode) -> None:
        line = ended_line(node, self._nodes)
        if self._live is None:
            self._line(line.append("  | ").append(self._headline()))
        elif node.status.outcome is not Outcome.SUCCEEDED:
            self._line(line)

    def answered(self, node: StageNode, answer: Answered | VerdictAnswer) -> None:
        """Says why the rules answered where an agent was asked, each reason once."""
        if line := self._news.line(node, answer):
            self.warn(line)

    def say(self, text: str) -> None:
        """A line that stays."""
        self._line(Text(text))

    def warn(self, text: str) -> None:
        """A line that stays and is to be seen."""
        self._line(Text(text, "yellow"))

    def _line(self, line: Text) -> None:
        clock = Text(f"{time.monotonic() - self._started:6.1f} s  ", "dim")
        self._console.print(clock + line, highlight=False, soft_wrap=self._live is None)

    def _headline(self) -> Text:
        elapsed = time.monotonic() - self._started
        return headline(self._search, elapsed, self._spent_before)

    def _picture(self) -> RenderableType:
        nodes = self._nodes.values()
        parts: list[RenderableType] = [self._headline()]
        scoring = [
            n for n in nodes if n.spec.purpose is not Purpose.TRAIN and not n.status.phase.final
        ]
        if scoring:
            paths = ", ".join(f"{n.spec.path} ({n.spec.purpose})" for n in scoring)
            parts.append(Text(f"scoring {paths}", "cyan"))
        lines = self._console.size.height - MARGIN_LINES - len(parts)
        parts.append(tree(self._search, nodes, lines))
        return Group(*parts)
