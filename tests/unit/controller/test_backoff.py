"""Waits between failed reconciles of a search."""

from hypothesis import given
from hypothesis import strategies as st

from llmzero.controller.backoff import Backoff

KEY = ("team", "search")


def test_it_doubles_up_to_the_limit_and_begins_anew() -> None:
    backoff, now, waits = Backoff(), 0.0, []
    for _ in range(6):
        waits.append(backoff.failed(KEY, now, limit=10))
        now += waits[-1]
    assert waits == [1, 2, 4, 8, 10, 10]
    backoff.succeeded(KEY)
    assert backoff.failed(KEY, now, limit=10) == 1


@given(events=st.lists(st.floats(0, 0.9), max_size=30))
def test_refusals_in_a_burst_of_events_count_once(events: list[float]) -> None:
    backoff = Backoff()
    assert backoff.failed(KEY, 100.0, limit=60) == 1
    for after in sorted(events):
        assert backoff.failed(KEY, 100.0 + after, limit=60) <= 1 - after + 1e-9
    assert backoff.failed(KEY, 101.0, limit=60) == 2


def test_searches_wait_for_themselves() -> None:
    backoff = Backoff()
    backoff.failed(KEY, 0.0, limit=60)
    assert backoff.failed(("team", "other"), 0.5, limit=60) == 1
