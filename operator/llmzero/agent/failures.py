"""Why a model gave no answer, in our own words: providers quote keys and prompts in theirs."""

from typing import Literal

from pydantic_ai import exceptions as errors

from llmzero.agent.transport import AnswerTooLarge, KeyUnreadable
from llmzero.client.judge import clean

Failure = Literal[
    "invalid", "refused", "truncated", "rate-limited", "unauthorized", "unreachable", "rejected",
    "server-error", "too-large", "broken",
]  # fmt: skip
ENDPOINT_FAILURES = frozenset(
    ("rate-limited", "unauthorized", "unreachable", "server-error", "too-large", "broken")
)
"""Failures that speak against the endpoint, not against one answer: they trip the breaker."""


class LlmFailed(Exception):
    """No valid answer. ``kind`` is for programs; the message quotes nothing that was received."""

    def __init__(self, kind: Failure, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def failed(error: Exception, problems: list[str], requests: int) -> LlmFailed:
    """What an exception of a model run means. ``problems`` are those of the last draft."""
    for cause in _causes(error):
        if isinstance(cause, KeyUnreadable):
            return LlmFailed("unauthorized", str(cause))
        if isinstance(cause, AnswerTooLarge):
            return LlmFailed("too-large", str(cause))
    status = f" (HTTP {error.status_code})" if isinstance(error, errors.ModelHTTPError) else ""
    match error:
        case errors.ContentFilterError():
            return LlmFailed("refused", "the model refused to answer")
        case errors.OutputTokenLimitExceeded():
            return LlmFailed("truncated", "the answer was cut off at the output token limit")
        case errors.UnexpectedModelBehavior() | errors.UsageLimitExceeded():
            problems = problems or _schema_problems(error)
            first = f": {clean(problems[0], 300)}" if problems else ""
            repaired = " after one repair" if requests > 1 else ""
            return LlmFailed("invalid", f"no valid answer{repaired}{first}")
        case errors.ModelRateLimitError() | errors.ModelQuotaExceededError():
            return LlmFailed("rate-limited", f"the endpoint's rate limit is reached{status}")
        case errors.ModelAuthenticationError():
            return LlmFailed("unauthorized", f"the endpoint refuses the key{status}")
        case errors.ModelRequestRejectedError():
            return LlmFailed("rejected", f"the endpoint rejects the request{status}")
        case errors.ModelConnectionError() | errors.ModelRequestTimeout():
            return LlmFailed("unreachable", "the endpoint does not answer")
        case errors.ModelAPIError():
            return LlmFailed("server-error", f"the endpoint fails{status}")
    return LlmFailed("broken", f"the endpoint's answer cannot be read ({type(error).__name__})")


def _schema_problems(error: Exception) -> list[str]:
    """What pydantic found wrong with the last draft, without what it found there."""
    for cause in _causes(error):
        retry = getattr(cause, "tool_retry", None)
        details = getattr(retry, "content", None)
        if isinstance(details, list):
            return [f"{'.'.join(str(x) for x in d['loc'])}: {d['msg']}" for d in details]
    return []


def _causes(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
