"""What Prometheus reads of the searches: their objects as metric families. No clock, no I/O."""

from llmzero.telemetry.collector import SearchCollector, Snapshot
from llmzero.telemetry.families import samples

__all__ = ["SearchCollector", "Snapshot", "samples"]
