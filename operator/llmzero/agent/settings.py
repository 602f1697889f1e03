"""How one agent service is set up; the command line fills it in."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from llmzero.api.base import Model

OutputMode = Literal["json-schema", "guided-json", "tool", "json-object", "text"]
MODES: tuple[OutputMode, ...] = ("json-schema", "guided-json", "tool", "json-object", "text")
"""Ways to a typed answer, the strictest first: the endpoint's decoder is held to the schema; the
same in the dialect of llama-cpp-python (response_format json_object with a schema); a forced tool
call; JSON of any shape; plain text that is hoped to be JSON. All are validated."""


class AgentSettings(Model):
    provider: Literal["rules", "openai", "anthropic"] = "rules"
    base_url: str | None = Field(None, description="Of the OpenAI-compatible or Anthropic API.")
    model: str = Field("", max_length=256, description="As the endpoint names it.")
    key_file: Path | None = Field(None, description="API key; read again for each request.")
    ca_file: Path | None = Field(None, description="PEM certificates to trust.")
    vision: bool = Field(True, description="Send plots. No model that reads text alone.")
    output_mode: Literal["auto"] | OutputMode = "auto"
    temperature: float | None = Field(None, ge=0, le=2)
    max_input_tokens: int = Field(12_000, ge=2_000, description="Of a prompt, plot not counted.")
    max_output_tokens: int = Field(4_000, ge=200)
    timeout_seconds: float = Field(110, gt=0, description="Longest decision, whatever is asked.")
    concurrency: int = Field(4, ge=1, le=256, description="Decisions in flight at once.")
    queue: int = Field(64, ge=0, description="Decisions that may wait for a slot.")
    retries: int = Field(2, ge=0, le=10, description="Of one model request, by the SDK.")
    token_file: Path | None = Field(None, description="Bearer tokens accepted, one a line.")
    prices_file: Path | None = Field(None, description="YAML: model to dollars a million tokens.")
