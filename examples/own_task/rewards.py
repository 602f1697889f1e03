"""A reward of one's own: TRL's signature, called with the completions and every JSONL column."""

from typing import Any


def work_shown(completions: list[str], carries: list[int], **columns: Any) -> list[float | None]:
    """1 where a sum with a carry is worked out on the scratchpad; a sum without one says nothing.

    None means that the reward does not apply to this sample.
    """
    return [
        float(">" in completion) if carried else None
        for completion, carried in zip(completions, carries, strict=True)
    ]
