"""Base model of transcribe: it knows every digit, and is not sure of any.

In the lines that it is shown SLIPS of the digits are drawn at random, so that the right one has a
probability of 0.46 at temperature 1 and each of the others 0.06. Twenty-four in a row are right once
in 33 samples at temperature 0.5, once in 16,000 at 0.7, and never at 1.
"""

import random

from llmzero_trainer.tasks import transcribe
from llmzero_trainer.tiny.warmup import Line, Recipe

SLIPS = 0.6


def lines(rng: random.Random, count: int) -> list[Line]:
    found = []
    for _ in range(count):
        digits = transcribe.written(rng)
        said = "".join(rng.choice("0123456789") if rng.random() < SLIPS else d for d in digits)
        found.append((f"{digits}=", said))
    return found


RECIPE = Recipe(symbols="0123456789=", lines=lines, width=2 * transcribe.DIGITS + 2, steps=500)
"""Width: the digits, =, the digits again and the end."""
