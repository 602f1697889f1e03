"""Prometheus metrics of the service. Labels come from closed lists, never from a request."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from llmzero.api.proposals import Usage


class Metrics:
    """One registry an app, so that two apps in one process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "llmzero_agent_decisions_total",
            "Decisions answered, by kind and by who answered.",
            ["decision", "answered_by"],
            registry=self.registry,
        )
        self._failures = Counter(
            "llmzero_agent_failures_total",
            "Decisions where the rules stood in for the model, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "llmzero_agent_decision_seconds",
            "Time of a decision.",
            ["decision"],
            buckets=(0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 80, 160),
            registry=self.registry,
        )
        self._tokens = Counter(
            "llmzero_agent_tokens_total", "Tokens.", ["direction"], registry=self.registry
        )
        self._dollars = Counter(
            "llmzero_agent_dollars_total", "Dollars by the price table.", registry=self.registry
        )
        self.in_flight = Gauge(
            "llmzero_agent_in_flight", "Decisions in flight.", registry=self.registry
        )
        self.joined = Counter(
            "llmzero_agent_joined_total",
            "Requests that joined a running decision of the same id.",
            registry=self.registry,
        )

    def answered(self, decision: str, answered_by: str, usage: Usage) -> None:
        self._decisions.labels(decision, answered_by).inc()
        self._seconds.labels(decision).observe(usage.seconds)
        self._tokens.labels("input").inc(usage.input_tokens)
        self._tokens.labels("output").inc(usage.output_tokens)
        self._dollars.inc(usage.dollars)

    def failed(self, reason: str) -> None:
        self._failures.labels(reason).inc()
