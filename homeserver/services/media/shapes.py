"""Which shapes thumbnails are made in: few, so that nobody fills the disk by asking for many.

What is asked is rounded up, never down. Source: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

from homeserver.model.media import Method, Shape

# The sizes that the specification wants to be there, and one for large screens.
BOXES = ((32, 32), (96, 96), (320, 240), (640, 480), (800, 600), (1600, 1200))
SIDES = (32, 96, 320, 640, 800, 1600)
"""The longer sides of cropped thumbnails."""
ASPECTS = ((1, 1), (4, 3), (3, 2), (16, 9), (2, 1), (3, 4), (2, 3), (9, 16), (1, 2))
"""The forms of cropped thumbnails, width to height."""


def shape_for(width: int, height: int, method: Method, *, animated: bool) -> Shape:
    """Return the shape that is made when this one is asked; 0 by 0, the original's size, if none is large enough."""
    if method is Method.CROP:
        box = _crop(width, height)
    else:
        box = next((box for box in BOXES if box[0] >= width and box[1] >= height), (0, 0))
    if box == (0, 0):
        method = Method.SCALE
    return Shape(*box, method, animated)


def _crop(width: int, height: int) -> tuple[int, int]:
    across, down = min(ASPECTS, key=lambda aspect: _distance(width * aspect[1], height * aspect[0]))
    for side in SIDES:
        box = (side, round(side * down / across)) if across >= down else (round(side * across / down), side)
        if box[0] >= width and box[1] >= height:
            return box
    return 0, 0


def _distance(one: int, other: int) -> float:
    return max(one, other) / min(one, other)
