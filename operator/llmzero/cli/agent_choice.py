"""Which agent a local search asks: ``--agent``, ``--agent-endpoints``, ``spec.agent``."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Agent
from llmzero.cli.output import fail
from llmzero.client.endpoints import Endpoint, EndpointsError, load_endpoints
from llmzero.client.ready import trouble

ENDPOINT = "command-line"
"""Name of the endpoint that ``--agent URL`` makes."""
RULES = "rules"
"""``--agent rules``: without the agent that the manifest names, as one for a cluster does."""


def choose(
    search: TrainingSearch, agent: str | None, file: Path | None
) -> tuple[TrainingSearch, dict[str, Endpoint]]:
    """The search with the agent that it is to ask, and the endpoints that are configured.

    A name that is not configured ends the command with exit code 2: the rules would answer
    everything, and nobody would be told that the agent was never asked.
    """
    endpoints = _configured(agent, file)
    if agent == RULES:
        if RULES in endpoints:
            fail(f"{file}: found an endpoint {RULES!r}: the name means --agent rules, no agent")
        return search.with_(spec=search.spec.with_(agent=None)), endpoints
    named = search.spec.agent
    if agent is not None:
        name = ENDPOINT if "://" in agent else agent
        _known("--agent", name, endpoints, file)
        # The deadline of a decision is the manifest's, whoever answers.
        named = Agent(endpoint=name) if named is None else named.with_(endpoint=name)
    elif named is not None:
        _known("spec.agent.endpoint", named.endpoint, endpoints, file)
    return search.with_(spec=search.spec.with_(agent=named)), endpoints


def unreachable(search: TrainingSearch, endpoints: Mapping[str, Endpoint]) -> str:
    """A warning where the agent of the search does not answer; empty where it does or none is."""
    if search.spec.agent is None:
        return ""
    name = search.spec.agent.endpoint
    why = trouble(endpoints[name])
    if not why:
        return ""
    where = f"agent endpoint {name} ({endpoints[name].origin})"
    return f"warning: {where}: {why}; the search goes on, the rules answer where the agent does not"


def _known(field: str, name: str, endpoints: Mapping[str, Endpoint], file: Path | None) -> None:
    if name in endpoints:
        return
    there = ", ".join(sorted(endpoints)) or "none"
    where = f" in {file}" if file is not None else ""
    fail(
        f"{field}: found {name!r}, endpoints that are configured{where}: {there}. Allowed are "
        "--agent-endpoints FILE with that name in it, --agent http://HOST:PORT, and --agent rules "
        "(no agent: the rules answer)"
    )


def _configured(agent: str | None, file: Path | None) -> dict[str, Endpoint]:
    try:
        found = load_endpoints(file) if file is not None else {}
        if agent is not None and "://" in agent:
            found[ENDPOINT] = Endpoint(url=agent)
    except EndpointsError as error:
        fail(str(error))
    except ValidationError as error:
        # The URL is not repeated: somebody may have put a password into it.
        first = error.errors(include_url=False, include_input=False)[0]
        fail(f"--agent: {first['msg'].removeprefix('Value error, ')}")
    return found
