"""Plots: readable pixel size, and no curve that cannot be drawn."""

import io
import math
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from llmzero.api.curve import Curve, Score
from llmzero.plots import HEIGHT, WIDTH, proposal_picture, verdict_picture
from tests.unit.agent.questions import curve, question, stage, verdict_question


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def pixels(png: bytes, colour: str) -> int:
    """Pixels of exactly this colour: how much of a line is drawn."""
    image = np.round(imread(io.BytesIO(png), format="png")[:, :, :3] * 255).astype(int)
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((image == wanted).all(axis=2).sum())


def test_both_pictures_have_the_size_that_models_do_not_shrink() -> None:
    assert size(proposal_picture(question())) == (WIDTH, HEIGHT) == (1536, 768)
    assert size(verdict_picture(verdict_question())) == (WIDTH, HEIGHT)
    assert WIDTH <= 1568 and HEIGHT <= 768


def test_the_stage_is_drawn_in_colour_over_the_best_in_grey() -> None:
    png = proposal_picture(question())
    without_best = proposal_picture(question(best=[]))
    assert pixels(png, "#1060c0") > 1000
    assert pixels(png, "#9a9a9a") > 200 > pixels(without_best, "#9a9a9a")
    assert pixels(png, "#208020") > 500  # checkpoints


def test_nothing_logged_is_said_and_not_an_error() -> None:
    bare = stage("0", scores=[], curve=None)
    assert size(proposal_picture(question(path=[bare], curve=Curve(), best=[]))) == (1536, 768)


def test_names_cannot_start_a_formula() -> None:
    odd = question(objective="$\\frac{1}{0}$ <b> " + "long " * 20)
    assert size(proposal_picture(odd)) == (1536, 768)


FLOATS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True))


@settings(max_examples=8, deadline=None)
@given(values=st.lists(FLOATS, min_size=1, max_size=20))
def test_any_numbers_can_be_drawn(values: list[float | None]) -> None:
    names = curve().metrics
    wild = Curve(
        steps=list(range(1, len(values) + 1)),
        metrics=dict.fromkeys(names, values),
        scores=[
            Score(step=1, value=v, standard_error=0.1, questions=1)
            for v in values
            if v is not None and not math.isnan(v)
        ],
    )
    assert size(proposal_picture(question(curve=wild))) == (1536, 768)
