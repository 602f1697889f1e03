"""Live progress of a run: the growing tree on a terminal, plain lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.cli.views import bar, budget_line, tree

REFRESH_SECONDS = 0.5


def eta(search: TrainingSearch, elapsed: float, spent_before: float) -> str:
    """Time left by the rate so far, as ``~3 min``; empty before a first stage ended."""
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
        (bar(ledger.stages_spent / budget.stages, 24), "green"),
        f" {budget_line(search)}",
        f" · {elapsed:.0f} s",
    )
    left = eta(search, elapsed, spent_before)
    if left:
        line.append(f", {left}")
    if best is not None:
        line.append(
            f" · best {best.value:.3f} ± {best.standard_error:.3f} (stage {best.path})", "bold"
        )
    return line


class Progress:
    """Shows a run while it goes; use as a context."""

    def __init__(self, console: Console, search: TrainingSearch) -> None:
        self._console = console
        self._started = time.monotonic()
        self._spent_before = search.status.ledger.stages_spent
        self._refreshed = 0.0
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

    def update(self, search: TrainingSearch, nodes: dict[str, StageNode]) -> None:
        now = time.monotonic()
        if self._live is None or now - self._refreshed < REFRESH_SECONDS:
            return
        self._refreshed = now
        self._live.update(self._picture(search, nodes), refresh=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        elapsed = time.monotonic() - self._started
        self._console.print(f"[dim]{elapsed:6.1f} s[/]  {escape(text)}", highlight=False)

    def _picture(self, search: TrainingSearch, nodes: dict[str, StageNode]) -> RenderableType:
        elapsed = time.monotonic() - self._started
        parts: list[RenderableType] = [tree(search, nodes.values())]
        scoring = [
            n
            for n in nodes.values()
            if n.spec.purpose is not Purpose.TRAIN and not n.status.phase.final
        ]
        if scoring:
            paths = ", ".join(f"{n.spec.path} ({n.spec.purpose})" for n in scoring)
            parts.append(Text(f"scoring {paths}", "cyan"))
        parts.append(headline(search, elapsed, self._spent_before))
        return Group(*parts)
