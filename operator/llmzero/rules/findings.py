"""What a proposer finds in a stage, and what a remedy for it is made of."""

from dataclasses import dataclass, field

from llmzero.api.curve import Pathology, PathologyKind
from llmzero.api.proposals import StageView
from llmzero.api.spec import SettingsMap
from llmzero.rules.moves import Position, Step


@dataclass(frozen=True, slots=True)
class Remedy:
    """One transition: what changes, why, and what it should do to which metric."""

    changes: SettingsMap
    reason: str
    expected: dict[str, float] = field(default_factory=dict)
    justification: str = ""
    reset_optimizer: bool = False
    reset_reference: bool = False


def acts(pathology: Pathology) -> bool:
    """Whether it asks for a change by itself; mild truncation is only reported."""
    return pathology.kind is not PathologyKind.TRUNCATION or pathology.severity >= 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """A pathology of the stage to go on from, and all that a remedy may be fitted to."""

    pathology: Pathology
    stage: StageView
    p: Position

    @property
    def severity(self) -> float:
        return self.pathology.severity

    def feature(self, name: str, default: float) -> float:
        return self.stage.features.get(name, default)

    @property
    def acts(self) -> bool:
        return acts(self.pathology)

    def warmer(self) -> Step:
        """Temperature +0.1 to +0.2, the more the graver."""
        return self.p.shift("temperature", 0.1 + 0.1 * self.severity)

    def less_reuse(self) -> Step:
        """Fewer iterations over the same rollouts, one where the bounds allow it."""
        p = self.p
        return p.lowered("num_iterations", 1) or p.scale("num_iterations", 1 / 3)
