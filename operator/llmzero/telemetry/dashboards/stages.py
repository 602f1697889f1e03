"""Stage dynamics: each live stage against the best one."""

from typing import Final

from llmzero.telemetry.dashboards.selectors import MINE
from llmzero.telemetry.grafana import Dashboard, Panel, Query, Row

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


def stages() -> Dashboard:
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
