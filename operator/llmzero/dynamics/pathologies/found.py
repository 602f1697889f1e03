"""A pathology as a rule reports it."""

from llmzero.api.curve import Pathology, PathologyKind


def found(kind: PathologyKind, severity: float, metric: str, evidence: str) -> Pathology:
    return Pathology(
        kind=kind,
        severity=round(min(max(severity, 0.0), 1.0), 3),
        metric=metric,
        evidence=evidence[:512],
    )


def excess(value: float, threshold: float, extreme: float) -> float:
    """0 at the threshold, 1 at the extreme."""
    return (value - threshold) / (extreme - threshold)
