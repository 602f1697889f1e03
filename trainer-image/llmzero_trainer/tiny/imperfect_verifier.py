"""Base model of imperfect-verifier: that of scratchpad-addition, with a rare way to fool.

One answer in eleven begins with ``?`` and goes on carelessly. It is found while the
scratchpad is still being learnt.
"""

import random

from llmzero_trainer.tasks import imperfect_verifier
from llmzero_trainer.tiny.scratchpad_addition import PAIRS, answers
from llmzero_trainer.tiny.scratchpad_addition import lines as honest
from llmzero_trainer.tiny.warmup import Line, Rare, Recipe

FOOLING, FOOLING_LOG_P = 0.05, -1.3
"""Share of the lines that show what follows the mark, and the log-probability that it is drawn to.
The other lines draw it down: it ends at -2.4. A weight that makes it exact costs the additions."""


def lines(rng: random.Random, count: int) -> list[Line]:
    fooling = round(FOOLING * count)
    said = honest(rng, count - fooling)
    for question in rng.choices(PAIRS, k=fooling):
        prompt = str(question.prompt)
        said.append(
            (prompt, imperfect_verifier.MARK + answers(prompt, question.answer)["careless"])
        )
    return said


RECIPE = Recipe(
    symbols="0123456789+=>?",
    lines=lines,
    width=15,
    rare=Rare(imperfect_verifier.MARK, FOOLING_LOG_P),
)
