"""Debian's Prometheus and promtool; nothing of Prometheus is faked here."""

import contextlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from llmzero.telemetry.dashboards import dashboards
from llmzero.telemetry.grafana import render
from tests.tools.debian import program


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("promtool", "prometheus"), *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
    )


def panel_queries() -> list[tuple[str, str]]:
    """Of all dashboards: the panel's title and one of its queries."""
    return [
        (f"{dashboard.title}: {panel['title']}", target["expr"])
        for dashboard in dashboards()
        for panel in render(dashboard)["panels"]
        for target in panel.get("targets", [])
    ]


def filled_in(expr: str) -> str:
    """Grafana's variables as Grafana replaces them: all searches."""
    for name, value in (("$namespace", ".+"), ("$search", ".+"), ("$__rate_interval", "20s")):
        expr = expr.replace(name, value)
    return expr


def target(address: str) -> dict[str, Any]:
    """A scrape of one address."""
    return {
        "job_name": "llmzero-operator",
        "honor_labels": True,
        "static_configs": [{"targets": [address]}],
    }


class Prometheus:
    """A real server on a free port, scraping every two seconds."""

    def __init__(self, folder: Path, scrape: dict[str, Any], rules: Path | None = None) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {
                "scrape_interval": "2s",
                "scrape_timeout": "2s",
                "evaluation_interval": "2s",
            },
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [scrape],
        }
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "GOMAXPROCS": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The series of an instant query, now. Raises ValueError where Prometheus refuses it."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=20).json()
        if answer["status"] != "success":
            raise ValueError(f"{expr}: {answer['error']}")
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def alerts(self) -> dict[str, dict[str, str]]:
        """Those that fire, by name, with their labels and annotations (of one each)."""
        answer = httpx.get(f"{self.url}/api/v1/alerts", timeout=20).json()
        firing = [a for a in answer["data"]["alerts"] if a["state"] == "firing"]
        return {a["labels"]["alertname"]: {**a["labels"], **a["annotations"]} for a in firing}

    def wait_for(self, expr: str, seconds: float = 40) -> list[dict[str, Any]]:
        """The result once there is one. Raises TimeoutError with the server's log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError, KeyError, json.JSONDecodeError):
                if found := self.query(expr):
                    return found
            time.sleep(0.2)
        raise TimeoutError(f"{expr}: no data in {seconds} s; {Path(self._log.name).read_text()}")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
