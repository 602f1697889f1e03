"""Search: is it worth going on."""

from llmzero.telemetry.dashboards.selectors import BY, MINE
from llmzero.telemetry.grafana import Dashboard, Panel, Query, Row


def search() -> Dashboard:
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
                        text="The best stage's own evaluation on the search split; after promotion on the promote split.",
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
