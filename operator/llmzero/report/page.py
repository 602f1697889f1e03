"""One self-contained HTML file of a search: no network, works by keyboard, light and dark."""

import json
from collections.abc import Sequence
from importlib.resources import files

import yaml

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.report.data import page_data


def render(search: TrainingSearch, nodes: Sequence[StageNode]) -> str:
    """The page as text. Everything from the objects enters as data and is set as text content."""
    data = page_data(search, nodes)
    data["manifest"] = yaml.safe_dump(data["manifest"], sort_keys=False, allow_unicode=True)
    # "<" would let a completion or a rationale close the script element.
    embedded = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    folder = files("llmzero.report")
    page = (folder / "page.html").read_text(encoding="utf-8")
    parts = {
        "/*STYLE*/": (folder / "page.css").read_text(encoding="utf-8"),
        "/*SCRIPT*/": (folder / "page.js").read_text(encoding="utf-8"),
        "/*DATA*/": embedded,
    }
    for mark, text in parts.items():
        page = page.replace(mark, text, 1)
    return page
