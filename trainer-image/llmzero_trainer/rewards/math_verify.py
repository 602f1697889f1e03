"""Mathematical equality by math-verify: 1/2, 0.5 and \\frac{1}{2} are one answer."""

SECONDS = 5
"""Limit for reading and for comparing one answer (SIGALRM): completions hold towers of powers."""


def verified(completion: str, answer: str) -> float | None:
    """1.0 or 0.0; None (not applicable) where the reference answer cannot be read as mathematics."""
    from math_verify import parse, verify

    gold = parse(answer, parsing_timeout=SECONDS) or parse(f"${answer}$", parsing_timeout=SECONDS)
    if not gold:
        return None
    found = parse(completion, parsing_timeout=SECONDS)
    return float(bool(found) and bool(verify(gold, found, timeout_seconds=SECONDS)))
