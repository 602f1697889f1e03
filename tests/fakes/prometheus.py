"""Debian's Prometheus and promtool; nothing of Prometheus is faked here."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import httpx
import yaml


def tool(name: str) -> str:
    """``prometheus`` or ``promtool``; installed where we are root and Debian has it.

    Raises RuntimeError with the command that a person has to run.
    """
    found = shutil.which(name)
    if found:
        return found
    hint = f"{name} is missing: on Debian run apt-get install prometheus"
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(hint)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", "prometheus"]
    with (Path(tempfile.gettempdir()) / "llmzero-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of pytest-xdist
        for arguments in (["update", "-qq"], install):
            done = subprocess.run(
                ["apt-get", *arguments], env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{hint}: {done.stderr[-500:]}")
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(hint)
    return found


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)], input=text, capture_output=True, text=True
    )


class Prometheus:
    """A real server on a free port, scraping one target every two seconds."""

    def __init__(self, folder: Path, target: str, rules: Path | None = None) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = {
            "global": {
                "scrape_interval": "2s",
                "scrape_timeout": "2s",
                "evaluation_interval": "2s",
            },
            "rule_files": [str(rules)] if rules else [],
            "scrape_configs": [
                {
                    "job_name": "llmzero-operator",
                    "honor_labels": True,
                    "static_configs": [{"targets": [target]}],
                }
            ],
        }
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(config))
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                tool("prometheus"),
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
