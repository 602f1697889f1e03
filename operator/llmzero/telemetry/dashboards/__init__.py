"""The Grafana dashboards, generated: ``python -m llmzero.telemetry.dashboards FOLDER``.

A test runs every query against a real Prometheus.
"""

import json
from pathlib import Path

from llmzero.telemetry.dashboards.health import health
from llmzero.telemetry.dashboards.search import search
from llmzero.telemetry.dashboards.stages import stages
from llmzero.telemetry.grafana import Dashboard, render


def dashboards() -> list[Dashboard]:
    return [search(), stages(), health()]


def main(folder: Path) -> None:
    """Writes a JSON file a dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards():
        file = folder / f"{dashboard.uid}.json"
        file.write_text(json.dumps(render(dashboard), indent=1) + "\n")
