"""Stored answers: appended to an expansion so that it stays within its bounds."""

from datetime import datetime
from typing import Final

from llmzero.api.proposals import Answered, Expansion

MOST_ANSWERS: Final = 8
EXPANSION_BYTES: Final = 16 * 1024
_CUT: Final = 120


def with_answer(
    expansion: Expansion | None, answered: Answered, manual: bool, now: datetime | None = None
) -> Expansion:
    """The expansion with one more answer; what an engine stores after an Ask.

    Under ``approval: manual`` the new proposals wait for a person. Proposals keep their index.
    Old answers lose their words first where the whole would pass 16 KB: the words of proposals
    that were used stand in the provenance of the stages made from them.
    """
    known = expansion.answers if expansion else []
    if any(a.request_id == answered.request_id for a in known):
        assert expansion is not None
        return expansion
    found = Expansion(
        answers=[*known, answered][:MOST_ANSWERS],
        approved=None if manual else True,
        requested_at=now or (expansion.requested_at if expansion else None),
    )
    place = 0
    while size(found) > EXPANSION_BYTES and place < len(found.answers):
        answers = [_cut(a) if i <= place else a for i, a in enumerate(found.answers)]
        found, place = found.with_(answers=answers), place + 1
    return found


def size(expansion: Expansion) -> int:
    """Bytes as JSON."""
    return len(expansion.model_dump_json(by_alias=True, exclude_none=True).encode())


def has_room(expansion: Expansion | None) -> bool:
    return expansion is None or len(expansion.answers) < MOST_ANSWERS


def _cut(answered: Answered) -> Answered:
    answer = answered.answer
    return answered.with_(
        note=answered.note[:_CUT],
        answer=answer.with_(
            diagnosis=[],
            branch_from=answer.branch_from.with_(reason=answer.branch_from.reason[:_CUT]),
            proposals=[
                p.with_(
                    rationale=p.rationale[:_CUT], justification=p.justification[:_CUT], expected={}
                )
                for p in answer.proposals
            ],
        ),
    )
