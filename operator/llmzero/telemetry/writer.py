"""Collects samples by family; a family has one type, one help text and one set of labels."""

from collections.abc import Mapping, Sequence
from typing import Literal

from prometheus_client.core import Metric

LABEL_CHARACTERS = 128
"""A user's text as a label is cut there; prometheus_client escapes quotes and newlines."""


class Writer:
    """Families in the order in which they were first written."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def gauge(self, name: str, text: str, labels: Mapping[str, str], value: float | None) -> None:
        """Does nothing where there is no value."""
        self._add("gauge", name, text, labels, value)

    def counter(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        """``name`` ends in ``_total``."""
        self._add("counter", name, text, labels, value)

    def families(self) -> Sequence[Metric]:
        return list(self._families.values())

    def _add(
        self,
        kind: Literal["gauge", "counter"],
        name: str,
        text: str,
        labels: Mapping[str, str],
        value: float | None,
    ) -> None:
        if value is None:
            return
        family = self._families.get(name)
        if family is None:
            family = Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)
            self._families[name] = family
        bounded = {label: words[:LABEL_CHARACTERS] for label, words in labels.items()}
        family.add_sample(name, bounded, float(value))
