"""Base model of scratchpad-addition: it knows three ways to answer, and mostly takes a wrong one.

With a scratchpad (25 %, always right), directly (10 %, right) and directly without carrying
(65 %, wrong whenever there is a carry). Greedy decoding follows the majority and is right for
about 30 % of the questions; GRPO *elicits* the scratchpad, which is already there.
"""

import random

from llmzero_trainer.tasks import scratchpad_addition
from llmzero_trainer.tiny.warmup import Line, Recipe

SCRATCH, DIRECT = 0.25, 0.10
"""Shares of the lines answered so; the rest is careless."""
PAIRS = list(scratchpad_addition.questions(scratchpad_addition.DIGITS))[-5000:]
"""The last of the task's order: the scored splits are drawn from its front."""


def lines(rng: random.Random, count: int) -> list[Line]:
    found = []
    for question in rng.choices(PAIRS, k=count):
        draw = rng.random()
        way = "scratch" if draw < SCRATCH else "direct" if draw < SCRATCH + DIRECT else "careless"
        prompt = str(question.prompt)
        found.append((prompt, answers(prompt, question.answer)[way]))
    return found


def answers(prompt: str, answer: str) -> dict[str, str]:
    """The three ways to answer; the wrong one adds digit by digit and forgets the carry."""
    a, b = prompt.rstrip("=").split("+")
    width = max(len(a), len(b))
    digits = zip(a.zfill(width), b.zfill(width), strict=True)
    careless = "".join(str((int(x) + int(y)) % 10) for x, y in digits)
    return {
        "scratch": f">{answer[::-1]}>{answer}",
        "direct": answer,
        "careless": str(int(careless)),
    }


RECIPE = Recipe(symbols="0123456789+=>", lines=lines, width=15)
"""Width: 99+99= >891>198 and the end."""
