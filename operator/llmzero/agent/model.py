"""The model client of pydantic-ai that the settings ask for, and how it is held to a schema."""

from typing import Any

import httpx2
from pydantic import BaseModel
from pydantic_ai import NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles import ModelProfile, merge_profile
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings

from llmzero.agent.settings import AgentSettings, OutputMode
from llmzero.agent.transport import PLACEHOLDER_KEY

_PLAIN_CHAT = OpenAIModelProfile(
    openai_chat_supports_max_completion_tokens=False,
    openai_chat_supports_multiple_system_messages=False,
    supports_inline_system_prompts=False,
)
"""What every OpenAI-compatible server understands: many chat templates allow one system message,
at the start."""


def model(settings: AgentSettings, mode: OutputMode, http: httpx2.AsyncClient) -> Model[Any]:
    """The model behind the endpoint; the key is put in by the transport."""
    profile = ModelProfile(
        supports_json_schema_output=mode == "json-schema",
        supports_json_object_output=mode == "json-object",
    )
    if settings.provider == "anthropic":
        return AnthropicModel(
            settings.model,
            provider=AnthropicProvider(
                api_key=PLACEHOLDER_KEY, base_url=settings.base_url, http_client=http
            ),
            profile=profile,
        )
    if settings.base_url is None:
        hosted = OpenAIProvider(api_key=PLACEHOLDER_KEY, http_client=http)
        return OpenAIChatModel(settings.model, provider=hosted, profile=profile)
    compatible = OpenAICompatibleProvider(
        "endpoint",
        base_url=settings.base_url,
        api_key=PLACEHOLDER_KEY,
        http_client=http,
    )
    return OpenAIChatModel(
        settings.model, provider=compatible, profile=merge_profile(_PLAIN_CHAT, profile)
    )


def model_settings(
    settings: AgentSettings, mode: OutputMode, shape: type[BaseModel], limit: int
) -> ModelSettings:
    """How one answer of ``shape`` is asked for, in at most ``limit`` tokens."""
    found = ModelSettings(
        max_tokens=min(settings.max_output_tokens, limit),
        max_retries=settings.retries,
        framing_announcement="never",
    )
    if settings.temperature is not None:
        found["temperature"] = settings.temperature
    if mode == "guided-json":
        guide = {"type": "json_object", "schema": shape.model_json_schema()}
        found["extra_body"] = {"response_format": guide}
    return found


def output(mode: OutputMode, shape: type[BaseModel]) -> Any:
    """The output type that holds the model to ``shape`` in this mode."""
    if mode == "json-schema":
        return NativeOutput(shape, strict=True)
    if mode == "tool":
        return ToolOutput(shape, name="answer")
    return PromptedOutput(shape)
