"""A schedule as a document: a path of stages that one search found and another can replay.

Small enough to read and to mail. ``docs/schedules.md`` has the rules by which it is rescaled.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from llmzero.api.base import API_VERSION, Model, Scalar
from llmzero.api.parameters import Parameter


class Relative(Model):
    """A value told by where it stands in the space of the search that replays it."""

    times: float | None = Field(None, gt=0, description="Factor of the initial value.")
    plus: float | None = Field(None, description="Added to the initial value.")
    at: float | None = Field(
        None, ge=0, le=1, description="Position between min and max along the scale, 0 to 1."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(v is not None for v in (self.times, self.plus, self.at)) != 1:
            raise ValueError("exactly one of times, plus and at is needed")
        return self


class Seen(Model):
    """What the stage before showed when this one was decided on."""

    value: float | None = Field(None, description="Its objective.")
    standard_error: float | None = None
    pathologies: list[str] = Field(default_factory=list, max_length=16)
    features: dict[str, float] = Field(default_factory=dict, max_length=16)


class ScheduleStage(Model):
    """One stage. Parameters that are left out stay as they were (at first: initial)."""

    steps: int | None = Field(
        None, ge=1, description="Optimizer steps; scaled by the ratio of full stages."
    )
    share: float | None = Field(None, gt=0, le=1, description="Share of the whole run.")
    parameters: dict[str, Scalar | Relative] = Field(
        default_factory=dict,
        max_length=32,
        description="Values, absolute or {times: 2}, {plus: 0.1}, {at: 0.5}.",
    )
    relative: dict[str, Relative] = Field(
        default_factory=dict,
        max_length=32,
        description="The absolute values once more, relative to the initial ones of the search "
        "that found them: used where the other search declares a parameter otherwise.",
    )
    carry_optimizer: bool = Field(False, description="Go on with the moments of the stage before.")
    carry_reference: bool = Field(False, description="Keep the KL reference of the stage before.")
    why: str = Field("", max_length=2048)
    seen: Seen | None = None

    @model_validator(mode="after")
    def _length(self) -> Self:
        if self.steps is not None and self.share is not None:
            raise ValueError("steps and share exclude one another")
        return self


class FoundIn(Model):
    """The search that the path was found in."""

    search: str = Field(max_length=63)
    model: str = Field("", max_length=1024)
    task: str = Field("", max_length=2048)
    path: str = Field("", max_length=255, description="Path of its last stage in the tree.")
    objective: str = Field("", max_length=63)
    value: float | None = None
    standard_error: float | None = None
    split: Literal["search", "promote"] | None = None
    seed: int | None = None


class ScheduleDocument(Model):
    """``strategy: {name: schedule, options: {from: ...}}`` replays it."""

    api_version: Literal["llmzero.dev/v1alpha1"] = API_VERSION
    kind: Literal["Schedule"] = "Schedule"
    name: str = Field(max_length=63)
    sources: list[str] = Field(default_factory=list, max_length=8, description="Citations.")
    notes: str = Field("", max_length=4096)
    found_in: FoundIn | None = None
    stage_steps: int | None = Field(
        None, ge=1, description="Steps of a full stage where it was found; steps count in them."
    )
    parameters: list[Parameter] = Field(
        default_factory=list, max_length=32, description="The space that it was found in."
    )
    stages: list[ScheduleStage] = Field(min_length=1, max_length=64)
