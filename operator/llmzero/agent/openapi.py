"""Write the service's OpenAPI document: ``python -m llmzero.agent.openapi docs/openapi.json``."""

import json
import sys
from pathlib import Path

from llmzero.agent.app import create_app
from llmzero.agent.settings import AgentSettings


def document() -> str:
    """OpenAPI 3.1 as JSON text with a newline at its end."""
    return json.dumps(create_app(AgentSettings()).openapi(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
