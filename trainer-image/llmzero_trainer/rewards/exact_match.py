"""Exact match of the answer."""


def matches(
    completion: str, answer: str, *, after: str | None = None, ignore_case: bool = False
) -> bool:
    """Whether the completion, or what follows the last ``after`` in it, is the answer.

    Leading and trailing white space does not count.
    """
    found = completion.rsplit(after, 1)[-1] if after else completion
    found, wanted = found.strip(), answer.strip()
    if ignore_case:
        found, wanted = found.casefold(), wanted.casefold()
    return found == wanted
