"""Every alert fires where it should and keeps quiet where it should: promtool runs the rules."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fakes.harness import ROOT
from tests.fakes.prometheus import promtool

RULES = ROOT / "charts/llmzero/rules/llmzero.yaml"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}

OPERATOR = '{job="llmzero-operator",instance="a"}'
SEARCH = 'namespace="research",search="demo"'
LEADS = {f"llmzero_leader{OPERATOR}": "1x200"}
RUNS = {f'llmzero_search_phase{{phase="Running",{SEARCH}}}': "1x200"}
BUSY = {
    'llmzero_search_stages{phase="Running",job="llmzero-operator",instance="a"}': "2x200",
    'llmzero_search_phase{phase="Running",job="llmzero-operator",instance="a"}': "1x200",
}


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, one point a minute; how many alerts fire at ``minute``."""

    alert: str
    words: str
    series: dict[str, str]
    fires: int
    minute: int = 60


def ended(**outcomes: str) -> dict[str, str]:
    return {
        f'llmzero_search_stages_ended_total{{outcome="{outcome}",{SEARCH}}}': values
        for outcome, values in outcomes.items()
    }


def metric(name: str, values: str, extra: str = "") -> dict[str, str]:
    return {f"llmzero_{name}{{{SEARCH}{extra}}}": values}


LAST_EVENT = f"llmzero_last_watch_event_timestamp_seconds{OPERATOR}"
LAST_RECONCILE = f"llmzero_last_reconcile_timestamp_seconds{OPERATOR}"
PROGRESS = "search_last_progress_timestamp_seconds"
CLAIM = ',persistentvolumeclaim="checkpoints"'
FREE = 'kubelet_volume_stats_available_bytes{namespace="research",persistentvolumeclaim="%s"}'
SIZE = 'kubelet_volume_stats_capacity_bytes{namespace="research",persistentvolumeclaim="%s"}'
FULL = {FREE % "checkpoints": "5x200", SIZE % "checkpoints": "100x200"}
TOLD = {
    **metric("search_volume_available_bytes", "5x200", CLAIM),
    **metric("search_volume_capacity_bytes", "100x200", CLAIM),
}
DECISIONS = 'llmzero_agent_decisions_total{job="llmzero-agent"}'
FAILURES = 'llmzero_agent_failures_total{job="llmzero-agent",reason="timeout"}'
STAND_IN = ',answered_by="stand-in"'

CASES = [
    Case("LLMZeroOperatorDown", "not scraped", {}, 1, 10),
    Case("LLMZeroOperatorDown", "a restart of four minutes", {}, 0, 4),
    Case("LLMZeroOperatorDown", "scraped", LEADS, 0),
    Case("LLMZeroNoLeader", "both wait", {f"llmzero_leader{OPERATOR}": "0x200"}, 1),
    Case(
        "LLMZeroNoLeader",
        "a standby beside the leader",
        {**LEADS, 'llmzero_leader{job="llmzero-operator",instance="b"}': "0x200"},
        0,
    ),
    Case("LLMZeroWatchStalled", "stages run", {**LEADS, **BUSY, LAST_EVENT: "600x200"}, 1),
    Case("LLMZeroWatchStalled", "nothing runs", {**LEADS, LAST_EVENT: "600x200"}, 0),
    Case("LLMZeroWatchStalled", "events come", {**LEADS, **BUSY, LAST_EVENT: "0+60x200"}, 0),
    Case("LLMZeroReconcileOld", "searches run", {**LEADS, **BUSY, LAST_RECONCILE: "600x200"}, 1),
    Case("LLMZeroReconcileOld", "no search runs", {**LEADS, LAST_RECONCILE: "600x200"}, 0),
    Case(
        "LLMZeroReconcileOld",
        "a standby does nothing",
        {f"llmzero_leader{OPERATOR}": "0x200", **BUSY, LAST_RECONCILE: "0x200"},
        0,
    ),
    Case(
        "LLMZeroReconcileErrors",
        "one a minute",
        {f"llmzero_reconcile_errors_total{OPERATOR}": "0+1x200"},
        1,
    ),
    Case(
        "LLMZeroReconcileErrors",
        "a few conflicts",
        {f"llmzero_reconcile_errors_total{OPERATOR}": "0+0.2x200"},
        0,
    ),
    Case("LLMZeroSearchStuck", "silent", {**RUNS, **metric(PROGRESS, "0x200")}, 1, 100),
    Case("LLMZeroSearchStuck", "reports come", {**RUNS, **metric(PROGRESS, "0+60x200")}, 0, 100),
    Case(
        "LLMZeroSearchStuck",
        "waits for a person",
        {**RUNS, **metric(PROGRESS, "0x200"), **metric("search_approvals_waiting", "1x200")},
        0,
        100,
    ),
    Case("LLMZeroSearchStuck", "complete", metric(PROGRESS, "0x200"), 0, 100),
    Case(
        "LLMZeroSearchBlocked",
        "no claim",
        metric("search_condition", "1x200", ',condition="Blocked"'),
        1,
    ),
    Case(
        "LLMZeroSearchBlocked",
        "short",
        metric("search_condition", "1x5 0x200", ',condition="Blocked"'),
        0,
    ),
    Case(
        "LLMZeroSearchBlocked",
        "suspended",
        metric("search_condition", "1x200", ',condition="Suspended"'),
        0,
    ),
    Case("LLMZeroApprovalWaiting", "long", metric("search_approvals_waiting", "2x200"), 1, 90),
    Case("LLMZeroApprovalWaiting", "not yet", metric("search_approvals_waiting", "2x200"), 0, 30),
    Case(
        "LLMZeroStageSilent",
        "half the limit",
        {
            **metric("stage_silence_seconds", "0+60x200", ',path="0"'),
            **metric("stage_silence_limit_seconds", "1800x200", ',path="0"'),
        },
        1,
        20,
    ),
    Case(
        "LLMZeroStageSilent",
        "two of three report",
        {
            **metric("stage_silence_seconds", "20x200", ',path="0"'),
            **metric("stage_silence_limit_seconds", "1800x200", ',path="0"'),
        },
        0,
    ),
    Case(
        "LLMZeroFailureRateHigh",
        "half of them",
        ended(Failed="0+0.05x200", Succeeded="0+0.05x200"),
        1,
        120,
    ),
    Case(
        "LLMZeroFailureRateHigh",
        "one of ten",
        ended(Diverged="0+0.01x200", Succeeded="0+0.09x200"),
        0,
        120,
    ),
    Case("LLMZeroFailureRateHigh", "one alone", ended(Failed="0x50 1x150"), 0, 120),
    Case(
        "LLMZeroPathologyStorm",
        "two a stage",
        {
            **ended(Succeeded="0+0.1x200"),
            **metric("search_pathologies_total", "0+0.2x200", ',kind="EntropyCollapse"'),
        },
        1,
        180,
    ),
    Case(
        "LLMZeroPathologyStorm",
        "plateaus",
        {
            **ended(Succeeded="0+0.1x200"),
            **metric("search_pathologies_total", "0+0.2x200", ',kind="Plateau"'),
        },
        0,
        180,
    ),
    Case(
        "LLMZeroBudgetNearlySpent",
        "stages and dollars",
        {
            **RUNS,
            **metric("search_budget_left_stages", "1x200"),
            **metric("search_budget_stages", "24x200"),
            **metric("search_agent_dollars_total", "4.9x200"),
            **metric("search_budget_agent_dollars", "5x200"),
        },
        2,
    ),
    Case(
        "LLMZeroBudgetNearlySpent",
        "half of the GPU hours",
        {
            **RUNS,
            **metric("search_device_seconds_total", "1800x200"),
            **metric("search_budget_device_seconds", "3600x200"),
        },
        0,
    ),
    Case(
        "LLMZeroBudgetNearlySpent",
        "complete",
        {
            **metric("search_budget_left_stages", "0x200"),
            **metric("search_budget_stages", "24x200"),
        },
        0,
    ),
    Case(
        "LLMZeroStorageNearlyFull",
        "a claim of a search",
        {**FULL, **metric("search_info", "1x200", CLAIM)},
        1,
    ),
    Case("LLMZeroStorageNearlyFull", "somebody else's claim", FULL, 0),
    Case("LLMZeroStorageNearlyFull", "the kubelet does not know, a stage does", TOLD, 1),
    Case(
        "LLMZeroStorageNearlyFull",
        "the kubelet knows better than what a stage saw",
        {**TOLD, **FULL, FREE % "checkpoints": "50x200", **metric("search_info", "1x200", CLAIM)},
        0,
    ),
    Case(
        "LLMZeroStorageNearlyFull",
        "room enough",
        {**FULL, FREE % "checkpoints": "50x200", **metric("search_info", "1x200", CLAIM)},
        0,
    ),
    Case(
        "LLMZeroAgentFellBack",
        "again and again",
        metric("search_agent_answers_total", "0+0.1x200", STAND_IN),
        1,
    ),
    Case(
        "LLMZeroAgentFellBack",
        "the agent answers",
        metric("search_agent_answers_total", "0+0.1x200", ',answered_by="agent"'),
        0,
    ),
    Case("LLMZeroAgentFailing", "half", {DECISIONS: "0+1x200", FAILURES: "0+0.5x200"}, 1),
    Case("LLMZeroAgentFailing", "one of twenty", {DECISIONS: "0+1x200", FAILURES: "0+.05x200"}, 0),
]


def test_the_rules_are_valid() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {c.alert for c in CASES if c.fires} == set(ALERTS)
    assert {c.alert for c in CASES if not c.fires} == set(ALERTS)


def test_alerts_fire_and_keep_quiet(tmp_path: Path) -> None:
    tests = [
        {
            "name": f"{case.alert}: {case.words}",
            "interval": "1m",
            "input_series": [{"series": s, "values": v} for s, v in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f'sum(ALERTS{{alertname="{case.alert}",alertstate="firing"}})',
                    "eval_time": f"{case.minute}m",
                    "exp_samples": [{"labels": "{}", "value": case.fires}] if case.fires else [],
                }
            ],
        }
        for case in CASES
    ]
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_what_it_means_and_has_a_runbook(name: str) -> None:
    rule: dict[str, Any] = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"]["summary"].endswith(".")
    page = (ROOT / rule["annotations"]["runbook_url"]).read_text()
    assert name in page
    for heading in ("## What it means", "## Find the cause", "## Mend it"):
        assert heading in page, f"{heading} is missing"


def test_no_runbook_is_left_over() -> None:
    pages = {p.name for p in (ROOT / "docs/runbooks").glob("*.md")} - {"index.md"}
    assert pages == {Path(r["annotations"]["runbook_url"]).name for r in ALERTS.values()}
