"""Which prompts a stage trains on: the next stretch of its path's own order."""

import random


def order(seed: int, size: int, start: int, count: int) -> list[int]:
    """Indices into a train split of ``size``: positions ``start`` to ``start + count``.

    The order is one permutation of the split after another, each by ``(seed, epoch)``. One search
    has one seed; a child's start is its parent's end, and siblings share both, so that they are
    compared on the same prompts.
    """
    indices: list[int] = []
    position = start
    end = start + count
    while position < end:
        epoch, within = divmod(position, size)
        permutation = list(range(size))
        random.Random(f"llmzero-order-{seed}-{epoch}").shuffle(permutation)
        taken = permutation[within : within + end - position]
        indices += taken
        position += len(taken)
    return indices
