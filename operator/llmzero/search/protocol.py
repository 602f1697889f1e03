"""What a plan asks of a strategy. Strategies live one room up, in ``llmzero.strategies``."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from llmzero.search.decisions import Ask, Create, Expand, MarkAudit, Review, Stop
from llmzero.search.tree import Tree
from llmzero.search.values import Values

Proposed = Ask | Create | Expand


class Strategy(Protocol):
    """Lives for one plan, over the tree that it was made for.

    The plan applies what it returns to the tree (``Tree.add``, ``Tree.store``) and to the values
    before it asks again. Everything is a function of the tree: which stages exist and how the ended ones ended.
    """

    def propose(self) -> Sequence[Proposed]:
        """The next step: at most one Create, after what must be stored before it.

        Empty where nothing can be created now. A step without a Create (a question to the agent,
        proposals that wait for a person) is applied, and the plan asks again.
        """
        ...

    def questions(self) -> Sequence[Proposed]:
        """What to ask ahead of need, asked once after the last step."""
        ...

    def waiting(self) -> bool:
        """Whether answers or approvals are still to come that stages would be created from."""
        ...

    def stops(self, now: datetime) -> Sequence[Stop | MarkAudit | Review]:
        """Which running stages should end early."""
        ...


Maker = Callable[[Tree, Values], Strategy]
