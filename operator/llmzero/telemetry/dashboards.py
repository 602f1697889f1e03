"""The Grafana dashboards, generated: ``python -m llmzero.telemetry.dashboards FOLDER``.

Three: *search* (is it worth going on), *stage dynamics* (each live stage against the best one) and
*operator health*. A test runs every query against a real Prometheus.
"""

import json
import sys
from pathlib import Path
from typing import Final

from llmzero.telemetry.grafana import Dashboard, Panel, Query, Row, render

MINE: Final = 'namespace=~"$namespace",search=~"$search"'
BY: Final = "by (namespace, search)"


def _search() -> Dashboard:
    def one(name: str, extra: str = "") -> str:
        return f"llmzero_search_{name}{{{MINE}{extra}}}"

    spent = f"sum {BY} ({one('budget_spent_stages')})"
    live = '"Pending|Running|Promoting|Confirming|Suspended|Complete|Failed"'
    return Dashboard(
        "llmzero-search",
        "LLMZero / Search",
        [
            Row(
                "Where it stands",
                [
                    Panel(
                        "Phase",
                        [Query(one("phase", f",phase=~{live}") + " == 1", "{{search}}: {{phase}}")],
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                    Panel(
                        "Best objective",
                        [Query(one("best_objective"), "{{search}} ({{split}})")],
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                    Panel(
                        "Stages in the tree",
                        [Query(one("tree_stages"))],
                        kind="stat",
                        width=4,
                        height=4,
                    ),
                    Panel(
                        "Depth",
                        [Query(one("tree_depth_stages"))],
                        kind="stat",
                        width=4,
                        height=4,
                    ),
                    Panel(
                        "GPU hours",
                        [Query(one("device_seconds_total") + " / 3600")],
                        kind="stat",
                        width=4,
                        height=4,
                    ),
                    Panel(
                        "Best so far",
                        [
                            Query(one("best_objective"), "{{search}} ({{split}})"),
                            Query(one("target_objective"), "{{search}} target", dashed=True),
                        ],
                        width=12,
                        text="Filtered value on the search split; after promotion on the promote split.",
                    ),
                    Panel(
                        "Stages by phase",
                        [Query(f"sum by (phase) ({one('stages')})", "{{phase}}")],
                        stacked=True,
                        width=12,
                    ),
                    Panel(
                        "Held-out score",
                        [Query(one("held_out_objective"), "{{search}}: {{subject}}")],
                        kind="bargauge",
                        width=12,
                        height=5,
                        text="Read once, after the choice.",
                    ),
                    Panel(
                        "Seconds since the last progress",
                        [Query("time() - " + one("last_progress_timestamp_seconds"))],
                        unit="s",
                        width=12,
                        height=5,
                    ),
                ],
            ),
            Row(
                "Budget and cost",
                [
                    Panel(
                        "Budget spent",
                        [
                            Query(spent),
                            Query(one("budget_stages"), "{{search}} budget", dashed=True),
                        ],
                        text="Full stages' worth of optimizer steps.",
                    ),
                    Panel(
                        "Spent by segment",
                        [Query(f"sum by (segment) ({one('budget_spent_stages')})", "{{segment}}")],
                        kind="bargauge",
                    ),
                    Panel(
                        "Left by segment",
                        [
                            Query(
                                f"sum by (segment) ({one('budget_share_stages')}"
                                f" - {one('budget_spent_stages')}"
                                f" - {one('budget_reserved_stages')})",
                                "{{segment}}",
                            )
                        ],
                        kind="bargauge",
                    ),
                    Panel(
                        "Devices in use",
                        [Query(f"rate({one('device_seconds_total')}[$__rate_interval])")],
                        text="Device seconds a second; a stage adds its time when it reports.",
                    ),
                    Panel(
                        "Training tokens a second",
                        [
                            Query(
                                f"sum {BY} (llmzero_stage_tokens_per_second{{{MINE}}})",
                            )
                        ],
                    ),
                    Panel(
                        "Saved by early stopping",
                        [
                            Query(one("saved_stages_total"), "{{search}} stages' worth"),
                            Query(one("false_kills_total"), "{{search}} false kills"),
                        ],
                    ),
                ],
            ),
            Row(
                "Outcomes and pathologies",
                [
                    Panel(
                        "Stages that ended",
                        [Query(f"sum by (outcome) ({one('stages_ended_total')})", "{{outcome}}")],
                        stacked=True,
                        width=12,
                    ),
                    Panel(
                        "Pathologies over time",
                        [Query(f"sum by (kind) ({one('pathologies_total')}) > 0", "{{kind}}")],
                        stacked=True,
                        width=12,
                    ),
                ],
            ),
            Row(
                "Agent",
                [
                    Panel(
                        "Answers",
                        [
                            Query(
                                f"sum by (answered_by) ({one('agent_answers_total')})",
                                "{{answered_by}}",
                            )
                        ],
                        stacked=True,
                        text="stand-in: the rules answered in the place of the agent.",
                    ),
                    Panel(
                        "Tokens",
                        [
                            Query(
                                f"sum by (search, direction) ({one('agent_tokens_total')})",
                                "{{search}} {{direction}}",
                            )
                        ],
                    ),
                    Panel(
                        "Dollars",
                        [
                            Query(one("agent_dollars_total")),
                            Query(one("budget_agent_dollars"), "{{search}} budget", dashed=True),
                        ],
                        unit="currencyUSD",
                    ),
                ],
            ),
        ],
    )


_DYNAMICS: Final = (
    ("objective", "Objective on the search split", "short"),
    ("reward", "Reward", "short"),
    ("reward_stddev", "Deviation of the reward within a group", "short"),
    ("kl_nats", "KL to the reference", "short"),
    ("entropy_nats", "Entropy", "short"),
    ("completion_length_tokens", "Length of completions", "short"),
    ("terminated_length_tokens", "Length of completions that ended", "short"),
    ("clipped_ratio", "Completions cut at the limit", "percentunit"),
    ("dead_groups_ratio", "Groups without variance", "percentunit"),
    ("grad_norm", "Norm of the gradient", "short"),
    ("loss", "Loss", "short"),
    ("learning_rate", "Learning rate", "sci"),
)


def _stages() -> Dashboard:
    def live(name: str) -> Query:
        return Query(f"llmzero_stage_{name}{{{MINE}}}", "{{search}} {{path}}")

    multiples = [
        Panel(
            title,
            [
                live(name),
                Query(f"llmzero_best_stage_{name}{{{MINE}}}", "{{search}} best", dashed=True),
            ],
            unit=unit,
            width=6,
            height=6,
        )
        for name, title, unit in _DYNAMICS
    ]
    return Dashboard(
        "llmzero-stages",
        "LLMZero / Stage dynamics",
        [
            Row(
                "Live stages",
                [
                    Panel(
                        "Step",
                        [
                            Query(
                                f"llmzero_stage_step{{{MINE}}}"
                                f" / llmzero_stage_planned_steps{{{MINE}}}",
                                "{{search}} {{path}}",
                            )
                        ],
                        unit="percentunit",
                        kind="bargauge",
                    ),
                    Panel("Tokens a second", [live("tokens_per_second")]),
                    Panel(
                        "Silence",
                        [live("silence_seconds")],
                        unit="s",
                        text="Seconds since the last record; at stage.silenceSeconds it is tried again.",
                    ),
                ],
            ),
            Row("Dynamics; dashed: where the best stage ended", multiples),
        ],
    )


def _operator() -> Dashboard:
    rate = "[$__rate_interval]"
    buckets = f"sum by (le) (rate(llmzero_reconcile_seconds_bucket{rate}))"
    decisions = f"sum by (le) (rate(llmzero_agent_decision_seconds_bucket{rate}))"
    leads = "and on (job, instance) (llmzero_leader == 1)"
    return Dashboard(
        "llmzero-operator",
        "LLMZero / Operator health",
        [
            Row(
                "Alive",
                [
                    Panel(
                        "Leader",
                        [Query("llmzero_leader", "{{instance}}")],
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                    Panel(
                        "Last watch event",
                        [
                            Query(
                                f"(time() - llmzero_last_watch_event_timestamp_seconds) {leads}",
                                "{{instance}}",
                            )
                        ],
                        unit="s",
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                    Panel(
                        "Last reconcile",
                        [
                            Query(
                                f"(time() - llmzero_last_reconcile_timestamp_seconds) {leads}",
                                "{{instance}}",
                            )
                        ],
                        unit="s",
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                    Panel(
                        "Searches by phase",
                        [Query("sum by (phase) (llmzero_search_phase) > 0", "{{phase}}")],
                        kind="stat",
                        width=6,
                        height=4,
                    ),
                ],
            ),
            Row(
                "Work",
                [
                    Panel(
                        "Reconcile duration",
                        [
                            Query(f"histogram_quantile({q}, {buckets})", f"p{q[2:]}")
                            for q in ("0.50", "0.99")
                        ],
                        unit="s",
                    ),
                    Panel(
                        "Reconciles and errors a second",
                        [
                            Query(
                                f"sum(rate(llmzero_reconcile_seconds_count{rate}))", "reconciles"
                            ),
                            Query(f"sum(rate(llmzero_reconcile_errors_total{rate}))", "errors"),
                        ],
                        unit="ops",
                    ),
                    Panel(
                        "Searches that wait for a reconcile",
                        [Query("llmzero_work_queue_searches", "{{instance}}")],
                    ),
                    Panel(
                        "API requests a second by code",
                        [
                            Query(
                                f"sum by (code) (rate(llmzero_api_requests_total{rate}))",
                                "{{code}}",
                            )
                        ],
                        unit="reqps",
                        stacked=True,
                    ),
                    Panel(
                        "Decisions a second",
                        [Query(f"sum by (kind) (rate(llmzero_decisions_total{rate}))", "{{kind}}")],
                        unit="ops",
                        stacked=True,
                    ),
                    Panel(
                        "Stages that ended a second",
                        [
                            Query(
                                f"sum by (outcome) (rate(llmzero_stages_total{rate}))",
                                "{{outcome}}",
                            )
                        ],
                        unit="ops",
                        stacked=True,
                    ),
                ],
            ),
            Row(
                "Agent",
                [
                    Panel(
                        "Calls a second by endpoint and result",
                        [
                            Query(
                                f"sum by (endpoint, result) (rate(llmzero_agent_calls_total{rate}))",
                                "{{endpoint}} {{result}}",
                            )
                        ],
                        unit="ops",
                    ),
                    Panel(
                        "Time of a decision (service)",
                        [
                            Query(f"histogram_quantile({q}, {decisions})", f"p{q[2:]}")
                            for q in ("0.50", "0.99")
                        ],
                        unit="s",
                    ),
                    Panel(
                        "Failures of the model (service)",
                        [
                            Query(
                                f"sum by (reason) (rate(llmzero_agent_failures_total{rate}))",
                                "{{reason}}",
                            )
                        ],
                        unit="ops",
                    ),
                ],
            ),
            Row(
                "Process",
                [
                    Panel(
                        "Memory",
                        [
                            Query(
                                "process_resident_memory_bytes and on (job, instance) llmzero_leader",
                                "{{instance}}",
                            )
                        ],
                        unit="bytes",
                        width=12,
                    ),
                    Panel(
                        "CPU",
                        [
                            Query(
                                f"rate(process_cpu_seconds_total{rate})"
                                " and on (job, instance) llmzero_leader",
                                "{{instance}}",
                            )
                        ],
                        unit="percentunit",
                        width=12,
                    ),
                ],
            ),
        ],
        searches=False,
    )


def dashboards() -> list[Dashboard]:
    return [_search(), _stages(), _operator()]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in dashboards():
        file = folder / f"{dashboard.uid}.json"
        file.write_text(json.dumps(render(dashboard), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
