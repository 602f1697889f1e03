"""What every object of ``llmzero.dev/v1alpha1`` shares: metadata, conditions, the model base."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

GROUP = "llmzero.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "llmzero.dev/v1alpha1"


class Model(BaseModel):
    """Immutable, closed, camelCase on the wire. Change one with :meth:`with_`."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        ser_json_inf_nan="null",
    )

    def with_(self, **changes: Any) -> Self:
        """A copy with some fields replaced, by their Python names; not validated again."""
        return self.model_copy(update=changes)

    def dump(self) -> dict[str, Any]:
        """The object as JSON data with wire names; fields that are None are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _rfc3339(value: datetime) -> str:
    """Kubernetes' metav1.Time: UTC, whole seconds, a trailing Z."""
    return value.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_rfc3339, when_used="json")]
"""A moment, written as Kubernetes writes it (RFC 3339, UTC, whole seconds)."""

Scalar = bool | int | float | str
"""A hyperparameter's value as it is handed to GRPOConfig, a task option or a reward weight."""


class OwnerReference(Model):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(BaseModel):
    """The part of Kubernetes' ObjectMeta that we read or write; the rest is kept as it came."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )

    name: str
    namespace: str | None = None
    uid: str = ""
    resource_version: str | None = None
    generation: int = 1
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)
    owner_references: list[OwnerReference] = Field(default_factory=list)


class Condition(Model):
    """Kubernetes' metav1.Condition; ``type`` is the map key of the list."""

    type: str = Field(max_length=64, description="Name of the condition, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=128, description="One CamelCase word for programs.")
    message: str = Field("", max_length=2048, description="What a person should know and do.")
    observed_generation: int | None = Field(
        None, description="metadata.generation that the condition was set for."
    )
    last_transition_time: Time = Field(description="When status last changed, RFC 3339.")


class ObjectList(Model):
    """A ``v1`` List, as ``kubectl get -o json`` prints several objects."""

    api_version: Literal["v1"] = "v1"
    kind: Literal["List"] = "List"
    items: list[Any]
