"""Who is told what a runner does."""

from collections.abc import Mapping
from typing import Protocol

from llmzero.api.proposals import Answered, VerdictAnswer
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode


class Listener(Protocol):
    """Whoever shows the progress."""

    def update(self, search: TrainingSearch, nodes: Mapping[str, StageNode]) -> None: ...

    def started(self, node: StageNode) -> None: ...

    def ended(self, node: StageNode) -> None:
        """An attempt is over; ``update`` was called with the plan that follows from it."""
        ...

    def answered(self, node: StageNode, answer: Answered | VerdictAnswer) -> None:
        """An answer about a stage was stored, of the agent or of the rules."""
        ...

    def say(self, text: str) -> None: ...
