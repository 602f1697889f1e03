"""Grafana's dashboards as a few small words, rendered to its JSON model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

WIDTH: Final = 24
"""Columns of Grafana's grid."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """``legend``: Grafana's ``{{label}}`` form. ``dashed``: a line to compare with."""

    expr: str
    legend: str = "{{search}}"
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    width: int = 8
    height: int = 7
    stacked: bool = False
    text: str = ""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    rows: Sequence[Row]
    searches: bool = True
    """Whether a namespace and a search can be chosen."""


def render(dashboard: Dashboard) -> Object:
    """Grafana's model of a dashboard (schema 39: Grafana 10.4 and later)."""
    panels: list[Object] = []
    y = 0
    for row in dashboard.rows:
        panels.append(_row(row, len(panels) + 1, y))
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            panels.append(_panel(panel, len(panels) + 1, x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["llmzero"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": _variables(dashboard.searches)},
        "panels": panels,
    }


def _row(row: Row, number: int, y: int) -> Object:
    place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
    return {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, x: int, y: int) -> Object:
    lines = panel.kind == "timeseries"
    custom: Object = {"lineWidth": 1, "fillOpacity": 30 if panel.stacked else 0}
    if panel.stacked:
        custom["stacking"] = {"mode": "normal"}
    dashed = [chr(ord("A") + i) for i, q in enumerate(panel.queries) if q.dashed]
    overrides = [
        {
            "matcher": {"id": "byFrameRefID", "options": ref},
            "properties": [
                {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}},
            ],
        }
        for ref in dashed
    ]
    options: Object = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if lines:
        options = {"legend": {"displayMode": "list", "placement": "bottom"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": custom if lines else {}},
            "overrides": overrides,
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": not lines,
                "range": lines,
            }
            for i, query in enumerate(panel.queries)
        ],
    }


def _variables(searches: bool) -> list[Object]:
    found: list[Object] = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    ]
    if not searches:
        return found
    for name, query in (
        ("namespace", "label_values(llmzero_search_info, namespace)"),
        ("search", 'label_values(llmzero_search_info{namespace=~"$namespace"}, search)'),
    ):
        found.append(
            {
                "name": name,
                "type": "query",
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "query": {"query": query, "refId": name},
                "refresh": 2,
                "includeAll": True,
                "multi": True,
                "current": {"text": "All", "value": "$__all"},
            }
        )
    return found
