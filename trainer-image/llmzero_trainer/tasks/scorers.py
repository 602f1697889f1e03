"""Scorers of a task that brings none of its own: what eval/accuracy and reward ``task`` mean."""

import inspect
from typing import Any

from llmzero_trainer.errors import reward_failed
from llmzero_trainer.loading import load_function
from llmzero_trainer.rewards.exact_match import matches
from llmzero_trainer.rewards.math_verify import verified
from llmzero_trainer.tasks.base import Question, Scorer


def scorer(name: str) -> Scorer:
    """``exact-match``, ``math-verify`` or ``module:function``.

    The function is called with ``(completion, answer)`` and with those further columns that it
    has parameters for; it returns 0..1. Raises StageError (InvalidRequest).
    """
    if name == "exact-match":
        return lambda completion, question: float(matches(completion, str(question.answer)))
    if name == "math-verify":
        return lambda completion, question: verified(completion, str(question.answer)) or 0.0
    return _own(name)


def _own(name: str) -> Scorer:
    function = load_function(name, "task.options.scorer")
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def score(completion: str, question: Question) -> float:
        columns: dict[str, Any] = {
            k: v for k, v in question.columns.items() if open_ended or k in parameters
        }
        try:
            value = function(completion, question.answer, **columns)
        except Exception as error:
            raise reward_failed(
                f"{name} raised {type(error).__name__}: {error}; answer {question.answer!r}, "
                f"completion {completion[:400]!r}"
            ) from error
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise reward_failed(f"{name}: returned {value!r}, a number is needed") from error
        if not 0.0 <= number <= 1.0:
            raise reward_failed(f"{name}: returned {number!r}, allowed is 0 to 1")
        return number

    return score
