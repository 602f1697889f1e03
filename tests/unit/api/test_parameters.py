"""One dimension of the search space: what is inside, and what becomes of the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmzero.api.parameters import Parameter

DIMENSIONS = [
    Parameter(name="learning_rate", type="float", min=1e-6, max=1e-3, scale="log", initial=1e-4),
    Parameter(name="beta", type="float", min=0.0, max=0.5, initial=0.1),
    Parameter(name="num_generations", type="int", min=2, max=16, initial=4),
    Parameter(name="loss_type", type="categorical", choices=["grpo", "dapo"], initial="grpo"),
    Parameter(name="k", type="categorical", choices=[1, 2.5, True], initial=1),
]
SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from([10**400, -(10**400), 10**5000]),
)


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.name)
@given(value=SCALARS)
def test_any_value_is_judged_and_a_clipped_one_is_inside(dimension: Parameter, value: Any) -> None:
    problem = dimension.problem_with(value)
    assert problem is None or problem.startswith("found ")
    if problem is None:
        assert dimension.problem_with(dimension.clip(value)) is None
    if type(value) in (int, float) and -1e300 < value < 1e300:
        assert dimension.problem_with(dimension.clip(value)) is None


@given(unit=st.floats(0, 1), dimension=st.sampled_from(DIMENSIONS[:3]))
def test_units_are_inside_and_go_there_and_back(unit: float, dimension: Parameter) -> None:
    value = dimension.from_unit(unit)
    assert dimension.problem_with(value) is None
    coarse = 0.5 / 14 if dimension.type == "int" else 1e-4
    assert dimension.to_unit(value) == pytest.approx(unit, abs=coarse)
