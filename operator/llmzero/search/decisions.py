"""What a plan may decide. An engine applies them in the order given, each one idempotent.

Every decision that has an effect outside is stored first (crash rule 2): a Stop is in the
node's status before the process is told, an expansion before its children are created.
"""

from dataclasses import dataclass

from llmzero.api.proposals import Expansion, ProposalRequest, VerdictRequest
from llmzero.api.search import SearchStatus
from llmzero.api.stage import Audit, StageNode, StopDecision


@dataclass(frozen=True, slots=True)
class Expand:
    """Store this expansion in the node's status (the whole of it: it replaces what was there)."""

    node: str
    expansion: Expansion


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the configured agent; the engine stores its answer (or the rules') as an expansion."""

    node: str
    request: ProposalRequest


@dataclass(frozen=True, slots=True)
class Create:
    """Create the StageNode; that the name exists already with our search's UID means done."""

    node: StageNode


@dataclass(frozen=True, slots=True)
class Start:
    """Start attempt number ``attempt`` of a stage."""

    node: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Review:
    """Ask the agent whether to veto a stop; no answer in time lets the stop proceed."""

    node: str
    request: VerdictRequest


@dataclass(frozen=True, slots=True)
class Stop:
    """Store the decision, then tell the running attempt to stop."""

    node: str
    stop: StopDecision


@dataclass(frozen=True, slots=True)
class MarkAudit:
    """Store that a doomed stage runs on, to count false kills."""

    node: str
    audit: Audit


@dataclass(frozen=True, slots=True)
class Prune:
    """Delete checkpoints of a finished stage, all but the steps in ``keep``."""

    node: str
    keep: tuple[int, ...]


Decision = Expand | Ask | Create | Start | Review | Stop | MarkAudit | Prune


@dataclass(frozen=True, slots=True)
class Plan:
    """All that follows from the stored objects at one moment."""

    decisions: tuple[Decision, ...]
    status: SearchStatus
