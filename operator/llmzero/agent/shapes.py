"""What a model is asked to fill in: the agent contract in the form that strict decoders accept.

Strict JSON schemas know no free-form maps, so changes and forecasts are lists of pairs here.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model

from llmzero.api.curve import CURVE_METRICS, PathologyKind
from llmzero.api.proposals import (
    BranchFrom,
    Diagnosis,
    Proposal,
    ProposalAnswer,
    ProposalRequest,
)
from llmzero.client.judge import branch_steps

T = TypeVar("T")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")  # no maxLength: grammars unroll it


class Finding(_Shape):
    """One pathology that the numbers show."""

    kind: PathologyKind
    severity: float = Field(ge=0, le=1, description="0 mild, 1 extreme")
    confidence: float = Field(ge=0, le=1)
    metric: str = Field(description="The metric that shows it, by its name")
    first_step: int = Field(ge=0, description="Where it begins to show")
    last_step: int = Field(ge=0, description="Up to where it shows")
    evidence: str = Field(description="What the metric does there, with values")

    def cited(self) -> str:
        """The evidence as the contract wants it. Fields of its own make a decoder that is held to
        the schema cite: weak models left metric and steps out of free text."""
        return f"{self.metric}, steps {self.first_step} to {self.last_step}: {self.evidence}"


class Setting(_Shape):
    """One parameter and its new value."""

    parameter: str = Field(description="Name of a searched parameter")
    value: bool | int | float | str


class Forecast(_Shape):
    """What a transition is expected to do to a metric."""

    metric: str = Field(description="A metric's name as given in the question")
    change: float = Field(description="Its difference to going on unchanged, in its own unit")


class Transition(_Shape):
    """One coordinated change of two to four parameters."""

    changes: list[Setting] = Field(min_length=1, max_length=8)
    reset_optimizer: bool = Field(description="Start with fresh optimizer moments")
    reset_reference: bool = Field(description="Make the checkpoint the new KL reference")
    rationale: str = Field(description="Why, in one to three sentences")
    expected: list[Forecast] = Field(max_length=8)
    confidence: float = Field(ge=0, le=1)
    justification: str = Field(
        description="Only for more than four changes or a capacity decrease, otherwise empty"
    )


class ProposalDraft(_Shape):
    """Diagnosis, branch point and proposals."""

    diagnosis: list[Finding] = Field(max_length=16, description="Empty where all is healthy")
    branch_step: int = Field(ge=0, description="Step of the checkpoint to start from")
    branch_reason: str
    proposals: list[Transition] = Field(min_length=1, max_length=8)

    def to_answer(self) -> ProposalAnswer:
        """The draft in the words of the agent contract.

        Raises ValueError for a parameter or metric that stands twice in one list.
        """
        return ProposalAnswer(
            diagnosis=[
                Diagnosis(
                    kind=f.kind,
                    severity=f.severity,
                    confidence=f.confidence,
                    evidence=f.cited()[:512],
                )
                for f in self.diagnosis
            ],
            branch_from=BranchFrom(step=self.branch_step, reason=self.branch_reason[:512]),
            proposals=[
                Proposal(
                    changes=paired([(c.parameter, c.value) for c in t.changes], "changes"),
                    carry_optimizer=not t.reset_optimizer,
                    carry_reference=not t.reset_reference,
                    rationale=t.rationale[:1024],
                    expected=paired([(f.metric, f.change) for f in t.expected], "expected"),
                    confidence=t.confidence,
                    justification=t.justification[:512],
                )
                for t in self.proposals
            ],
        )


def proposal_shape(request: ProposalRequest) -> type[ProposalDraft]:
    """The draft with this request's own names and checkpoints: a decoder that is held to
    the schema cannot even spell another parameter. The same for all stages of a search."""
    metrics = sorted({request.objective, *CURVE_METRICS, *request.curve.metrics})
    finding = create_model(
        "Finding",
        __base__=Finding,
        __doc__=Finding.__doc__,
        metric=_one_of(Finding, "metric", metrics),
    )
    setting = create_model(
        "Setting",
        __base__=Setting,
        __doc__=Setting.__doc__,
        parameter=_one_of(Setting, "parameter", [p.name for p in request.parameters]),
    )
    forecast = create_model(
        "Forecast",
        __base__=Forecast,
        __doc__=Forecast.__doc__,
        metric=_one_of(Forecast, "metric", metrics),
    )
    transition = create_model(
        "Transition",
        __base__=Transition,
        __doc__=Transition.__doc__,
        changes=(list[setting], Field(min_length=1, max_length=8)),
        expected=(list[forecast], Field(max_length=8)),
    )
    return create_model(
        "ProposalDraft",
        __base__=ProposalDraft,
        __doc__=ProposalDraft.__doc__,
        diagnosis=(
            list[finding],
            Field(max_length=16, description=ProposalDraft.model_fields["diagnosis"].description),
        ),
        branch_step=_one_of(ProposalDraft, "branch_step", branch_steps(request.path[-1])),
        proposals=(
            list[transition],
            Field(min_length=1, max_length=8),
        ),
    )


def _one_of(model: type[BaseModel], field: str, allowed: Sequence[str | int]) -> Any:
    description = model.model_fields[field].description
    return (Literal[tuple(allowed)], Field(description=description))


class VerdictDraft(_Shape):
    """Whether the running stage shall be stopped."""

    verdict: Literal["continue", "stop"]
    reason: str = Field(description="One or two sentences that cite metric and steps")


def paired(pairs: list[tuple[str, T]], where: str) -> dict[str, T]:
    """Raises ValueError for a name that stands twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError(f"{where}: a name stands twice")
    return result
