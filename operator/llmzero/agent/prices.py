"""What a decision costs: a user's price table first, then the public list that pydantic-ai ships."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from genai_prices import calc_price
from pydantic import Field, ValidationError
from pydantic_ai.usage import RunUsage

from llmzero.agent.settings import AgentSettings
from llmzero.api.base import Model


class PricesError(ValueError):
    """The price table cannot be used; the message names file and field."""


class Price(Model):
    """Dollars for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0, description="As input where left out.")


def load_prices(path: Path | None) -> dict[str, Price]:
    """A YAML mapping of model name to ``{input, output, cachedInput}``. Raises PricesError."""
    if path is None:
        return {}
    try:
        table = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise PricesError(f"{path}: cannot be read as YAML") from None
    if not isinstance(table, Mapping):
        raise PricesError(f"{path}: a mapping of model names to prices is needed")
    prices: dict[str, Price] = {}
    for name, entry in table.items():
        try:
            prices[str(name)] = Price.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join([str(name), *(str(part) for part in first["loc"])])
            raise PricesError(f"{path}: {field}: {first['msg']}") from None
    return prices


def dollars(usage: RunUsage, settings: AgentSettings, table: Mapping[str, Price]) -> float | None:
    """Price of the tokens; None where no table knows the model.

    The public list knows endpoints, too: a model of one name costs nothing on your own server.
    """
    if settings.model in table:
        price = table[settings.model]
        cached = usage.cache_read_tokens
        cached_price = price.input if price.cached_input is None else price.cached_input
        fresh = max(usage.input_tokens - cached, 0)
        return (
            fresh * price.input + cached * cached_price + usage.output_tokens * price.output
        ) / 1e6
    try:
        if settings.provider == "anthropic" or settings.base_url is None:
            found = calc_price(usage, settings.model, provider_id=settings.provider)
        else:
            found = calc_price(usage, settings.model, provider_api_url=settings.base_url)
        return float(found.total_price)
    except (LookupError, ValueError):
        return None
