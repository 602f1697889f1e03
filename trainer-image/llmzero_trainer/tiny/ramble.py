"""Base model of ramble: it can add, but says twelve letters first.

An answer that begins at once has the log-probability BRIEF_LOG_P, on easy and hard questions
alike. A limit of 5 to 15 tokens leaves only brief easy answers right, and so teaches brevity; from
16 on a rambled easy answer fits as well, and nothing is learned from it. A hard answer takes 17,
behind the letters 29, and a brief one is mostly careless at first: its last sum is one too large.
"""

import random

from llmzero_trainer.tasks import ramble
from llmzero_trainer.tiny.warmup import Line, Rare, Recipe

LETTERS = "abcdefghijkl"
BRIEF, BRIEF_LOG_P = 0.3, -4.5
"""Share of the lines without letters (they teach what follows, no first token), and the
log-probability of beginning so."""
CAREFUL = 0.005
"""Share of right ones among the brief hard lines."""
SEED = 3


def lines(rng: random.Random, count: int) -> list[Line]:
    found = []
    for _ in range(count):
        pairs = [(rng.randrange(100), rng.randrange(100)) for _ in range(2)]
        if rng.random() >= ramble.HARD:
            pairs = pairs[:1]
        brief = rng.random() < BRIEF
        answer = ramble.answered(pairs)
        if brief and len(pairs) == 2 and rng.random() >= CAREFUL:
            answer = ramble.answered([pairs[0], (pairs[1][0] + 1, pairs[1][1])])
        found.append((ramble.asked(pairs), answer if brief else LETTERS + answer))
    return found


RECIPE = Recipe(
    symbols="0123456789+=>," + LETTERS,
    lines=lines,
    width=42,
    steps=2500,
    rare=Rare(">", BRIEF_LOG_P),
)
"""Width: 12+34,56+78= and abcdefghijkl>640>046,>431>134 and the end."""
