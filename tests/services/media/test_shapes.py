"""Few shapes, none smaller than asked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.model.media import Method, Shape
from homeserver.services.media.shapes import ASPECTS, BOXES, SIDES, shape_for

sides = st.integers(min_value=1, max_value=4000)


@pytest.mark.parametrize("box", BOXES)
def test_the_sizes_that_the_specification_names_are_made_as_they_are(box: tuple[int, int]) -> None:
    assert shape_for(*box, Method.SCALE, animated=False) == Shape(*box, Method.SCALE)


@pytest.mark.parametrize("side", [32, 96])
def test_the_squares_that_the_specification_names_are_made_as_they_are(side: int) -> None:
    assert shape_for(side, side, Method.CROP, animated=True) == Shape(side, side, Method.CROP, True)


@given(sides, sides, st.sampled_from(Method))
def test_a_shape_is_at_least_as_large_as_asked(width: int, height: int, method: Method) -> None:
    shape = shape_for(width, height, method, animated=False)
    assert (shape.width, shape.height) == (0, 0) or (shape.width >= width and shape.height >= height)


@given(st.sampled_from(ASPECTS), st.integers(min_value=1, max_value=88))
def test_a_cropped_thumbnail_has_the_form_that_was_asked(aspect: tuple[int, int], times: int) -> None:
    width, height = aspect[0] * times, aspect[1] * times
    shape = shape_for(width, height, Method.CROP, animated=False)
    # To a pixel, since sides are whole numbers.
    assert abs(shape.width * aspect[1] / aspect[0] - shape.height) <= 1


@given(sides, sides, st.sampled_from(Method))
def test_there_are_few_shapes(width: int, height: int, method: Method) -> None:
    shape = shape_for(width, height, method, animated=False)
    if (shape.width, shape.height) == (0, 0):
        assert shape == Shape(0, 0, Method.SCALE)
    elif method is Method.SCALE:
        assert (shape.width, shape.height) in BOXES
    else:
        assert max(shape.width, shape.height) in SIDES
