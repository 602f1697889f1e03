"""Who answered, in words: an agent that is never reached must not be silent."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from llmzero.api.proposals import Answered, VerdictAnswer, stood_in
from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from llmzero.client.judge import clean

NOTE = 300
"""Characters of a note that are shown in a line."""
_START = datetime.min.replace(tzinfo=UTC)


class News:
    """What is worth a line while a search runs: each new reason why the rules stand in."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def line(self, node: StageNode, answer: Answered | VerdictAnswer) -> str:
        """Empty where the agent answered, and for a reason that was told: a summary counts them."""
        # "left alone for 29 s more" and "for 28 s more" are one reason.
        reason = re.sub(r"\d+", "#", answer.note)
        if not stood_in(answer) or reason in self._known:
            return ""
        self._known.add(reason)
        return f"stage {node.spec.path}: the rules answer for the agent: {clean(answer.note, NOTE)}"


def agent_line(search: TrainingSearch, nodes: Iterable[StageNode]) -> str:
    """How many answers were the agent's and why others were not; empty without an agent."""
    answers = [answer for _, answer in sorted(_stored(nodes), key=lambda stored: stored[0])]
    missed = [a for a in answers if stood_in(a)]
    by_agent = sum(a.answered_by != "rules" for a in answers)
    if search.spec.agent is None and not missed and not by_agent:
        return ""
    if not answers:
        return "agent: nothing was asked"
    many = "s" * (len(answers) != 1)
    line = f"agent: {by_agent} of {len(answers)} answer{many} by the agent"
    if as_asked := len(answers) - by_agent - len(missed):
        line += f", {as_asked} by the rules as asked"
    if missed:
        line += f", {len(missed)} by the rules in its place; the last one: "
        line += clean(missed[-1].note, NOTE)
    return line


def answered_rows(node: StageNode) -> list[tuple[str, str]]:
    """Who answered about a stage and why, for its facts: label and value, repeats counted."""
    status = node.status
    found = Counter(
        ("answered by", _who(a)) for a in (status.expansion.answers if status.expansion else ())
    )
    for decision in (status.stop, status.audit):
        if decision is not None and decision.verdict is not None:
            found["verdict by", _who(decision.verdict)] += 1
    return [
        (label, f"{who} ({times} times)" if times > 1 else who)
        for (label, who), times in found.items()
    ]


def _who(answer: Answered | VerdictAnswer) -> str:
    if stood_in(answer):
        return f"the rules, for the agent: {clean(answer.note, 512)}"
    if answer.answered_by == "rules":
        return "the rules"
    who = "the agent" + (f" ({clean(answer.provider, 128)})" if answer.provider else "")
    who += ", repaired" * (answer.answered_by == "repaired")
    return who + (f": {clean(answer.note, 512)}" if answer.note else "")


def _stored(nodes: Iterable[StageNode]) -> Iterator[tuple[datetime, Answered | VerdictAnswer]]:
    """Every stored answer with the time that stands nearest to it."""
    for node in nodes:
        expansion = node.status.expansion
        for answer in expansion.answers if expansion is not None else ():
            assert expansion is not None
            yield expansion.requested_at or _START, answer
        for decision in (node.status.stop, node.status.audit):
            if decision is not None and decision.verdict is not None:
                yield decision.at, decision.verdict
