"""Operator health: does it lead, does it keep up, what does the agent cost."""

from llmzero.telemetry.grafana import Dashboard, Panel, Query, Row


def health() -> Dashboard:
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
