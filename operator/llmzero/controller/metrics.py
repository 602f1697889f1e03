"""What Prometheus reads of the operator; labels come from fixed lists."""

from prometheus_client import Counter, Gauge, Histogram

API_REQUESTS = Counter(
    "llmzero_api_requests_total", "Requests to the API server.", ["method", "resource", "code"]
)
RECONCILE_SECONDS = Histogram(
    "llmzero_reconcile_seconds",
    "Seconds of one reconcile.",
    buckets=[0.005 * 2**i for i in range(12)],
)
RECONCILE_ERRORS = Counter("llmzero_reconcile_errors_total", "Reconciles that will be repeated.")
LAST_RECONCILE = Gauge("llmzero_last_reconcile_timestamp_seconds", "End of the last reconcile.")
LAST_EVENT = Gauge("llmzero_last_watch_event_timestamp_seconds", "Last event of any watch.")
DECISIONS = Counter("llmzero_decisions_total", "Decisions applied.", ["kind"])
STAGES = Counter("llmzero_stages_total", "Stages that ended.", ["outcome"])
AGENT_CALLS = Counter(
    "llmzero_agent_calls_total",
    "Questions by endpoint and by who answered (stand-in: the rules in the agent's place).",
    ["endpoint", "result"],
)
WORK_QUEUE = Gauge("llmzero_work_queue_searches", "Searches that wait for a reconcile.")
LEADER = Gauge("llmzero_leader", "1 while this replica holds the lease.")
