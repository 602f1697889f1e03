"""What an engine needs to ask an agent and to believe its answer: endpoints, HTTP, judgement.

``Proposer`` is the seam of both engines; ``RulesProposer`` needs no network, ``EndpointProposer``
asks the endpoint that the search names and falls back to the rules, never raising.
"""

from llmzero.client.endpoints import Endpoint, EndpointsError, load_endpoints
from llmzero.client.proposer import EndpointProposer, Proposer, RulesProposer, SyncProposer

__all__ = [
    "Endpoint",
    "EndpointProposer",
    "EndpointsError",
    "Proposer",
    "RulesProposer",
    "SyncProposer",
    "load_endpoints",
]
