"""The stage contract: one JSON document in, JSON lines out, reserved exit codes.

The same in a pod and in a subprocess. In: a :class:`StageRequest`, base64 in the environment
(kubelet rewrites ``$(X)`` in plain values). Out: records on stdout, one JSON object a line under
16 KiB; the compact result also in the termination message, under 1 KiB.
"""

import base64
import hashlib
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from llmzero.api.base import Model, Time
from llmzero.api.curve import Score
from llmzero.api.proposals import Sample
from llmzero.api.spec import Evaluation
from llmzero.api.task import ModelSource, Task

REQUEST_ENV = "LLMZERO_STAGE_REQUEST"
REQUEST_HASH_ENV = "LLMZERO_STAGE_REQUEST_SHA256"
ROOT_ENV = "LLMZERO_ROOT"
"""Directory that holds one directory per search uid."""
ATTEMPT_ENV = "LLMZERO_ATTEMPT"
"""Number of the attempt, from 1; the fence file names the one that may publish."""
TERMINATION_ENV = "LLMZERO_TERMINATION_LOG"
REQUEST_BYTES = 64 * 1024
LINE_BYTES = 16 * 1024
OUTPUT_BYTES = 8 * 1024 * 1024
TERMINATION_BYTES = 1024


class ExitCode(IntEnum):
    """Each means one thing; everything else is a crash that may be tried again."""

    DONE = 0
    INVALID_REQUEST = 64
    OUT_OF_MEMORY = 65
    DIVERGED = 66
    STORAGE = 67
    INTERRUPTED = 68
    REWARD_FAILED = 69
    FENCED = 70


STORAGE_FULL = "StorageFull"
"""Reason of a result with :attr:`ExitCode.STORAGE`: a volume or a quota is used up."""


class VolumeSpace(Model):
    """Room on the volume of the stages, as its file system reports it."""

    capacity_bytes: int = Field(ge=0)
    available_bytes: int = Field(ge=0)


class Volume(VolumeSpace):
    """The room when a stage last spoke of it."""

    at: Time


class StageRequest(Model):
    """What one stage shall compute. Its hash guards the stage's directory."""

    version: Literal["v1alpha1"] = "v1alpha1"
    mode: Literal["train", "evaluate"] = "train"
    search_uid: str = Field(max_length=64)
    node: str = Field(max_length=63)
    start_node: str | None = Field(None, max_length=63)
    start_step: int | None = Field(None, ge=0)
    model: ModelSource
    task: Task
    train_options: dict[str, Any] = Field(
        default_factory=dict,
        description="Searched task.* options, without the prefix. They change the train split "
        "alone: every stage is scored on the questions that task.options draws.",
    )
    objective_metric: str = Field(max_length=63)
    grpo: dict[str, Any] = Field(
        default_factory=dict, description="GRPOConfig fields: fixed and searched, merged."
    )
    evaluation: Evaluation
    split: Literal["search", "promote", "heldOut"] = Field(
        "search", description="Split that is evaluated."
    )
    steps: int = Field(ge=0)
    prompts_per_step: int = Field(ge=1)
    eval_every: int = Field(ge=1)
    checkpoint_every: int = Field(ge=1)
    carry_optimizer: bool = False
    carry_reference: bool = False
    micro_batch_halvings: int = Field(0, ge=0)
    order_seed: int = Field(ge=0, description="Seed of the order of prompts, one per search.")
    data_offset: int = Field(ge=0, description="Prompts of that order already consumed.")
    rollout_seed: int = Field(ge=0)

    def digest(self) -> str:
        """SHA-256 of the canonical JSON, hex."""
        return hashlib.sha256(self._canonical()).hexdigest()

    def _canonical(self) -> bytes:
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def encode(self) -> str:
        """Base64 for the environment. Raises ValueError beyond 64 KiB."""
        data = base64.b64encode(self._canonical())
        if len(data) > REQUEST_BYTES:
            raise ValueError(f"stage request: {len(data)} bytes, at most {REQUEST_BYTES} fit")
        return data.decode()

    @classmethod
    def decode(cls, text: str, digest: str | None = None) -> "StageRequest":
        """The inverse of :meth:`encode`. Raises ValueError where the hash does not match."""
        request = cls.model_validate_json(base64.b64decode(text, validate=True))
        if digest and request.digest() != digest:
            raise ValueError("stage request: its hash does not match what was sent")
        return request


class _Record(Model):
    attempt: int = Field(ge=1)
    seq: int = Field(ge=1, description="Counts up within an attempt.")
    time: float = Field(description="Unix seconds.")


class AttemptRecord(_Record):
    """First record of an attempt."""

    type: Literal["attempt"] = "attempt"
    resumed_from: int | None = Field(None, description="Step of the checkpoint it goes on from.")
    device: str = ""
    micro_batch_halvings: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    volume: VolumeSpace | None = None


class StepRecord(_Record):
    type: Literal["step"] = "step"
    step: int = Field(ge=1)
    metrics: dict[str, float | None] = Field(default_factory=dict, description="TRL's names.")
    tokens: int = Field(0, ge=0, description="Tokens generated in this step.")


class EvalRecord(_Record):
    type: Literal["eval"] = "eval"
    split: Literal["search", "promote", "heldOut"] = "search"
    score: Score
    tokens: int = Field(0, ge=0)
    seconds: float = Field(0, ge=0)
    samples: list[Sample] = Field(
        default_factory=list,
        max_length=4,
        description="Worst and best answers, cut short; of the search split alone.",
    )


class CheckpointRecord(_Record):
    type: Literal["checkpoint"] = "checkpoint"
    step: int = Field(ge=0)
    bytes: int = Field(0, ge=0)
    volume: VolumeSpace | None = None


class ResultRecord(_Record):
    """Last record: how the attempt ended."""

    type: Literal["result"] = "result"
    exit_code: int
    reason: str = Field("", max_length=128)
    message: str = Field("", max_length=512)
    step: int = Field(0, ge=0)
    value: float | None = None
    standard_error: float | None = None
    questions: int | None = None
    device_seconds: float = Field(0, ge=0, description="Of the whole stage, all attempts.")
    train_tokens: int = Field(0, ge=0, description="Of the whole stage.")
    eval_tokens: int = Field(0, ge=0, description="Of the whole stage.")
    micro_batch_halvings: int = Field(0, ge=0)
    volume: VolumeSpace | None = None


Record = Annotated[
    AttemptRecord | StepRecord | EvalRecord | CheckpointRecord | ResultRecord,
    Field(discriminator="type"),
]
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)


def parse_record(line: str | bytes) -> Record:
    """One line of a stage's stdout. Raises pydantic.ValidationError (a ValueError)."""
    return _RECORD.validate_json(line)
