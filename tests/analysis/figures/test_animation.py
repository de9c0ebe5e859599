"""Attention in motion: the maps of the pixels on the way, the same bytes again."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from analysis.figures import MOTION_FORMATS, animation_file, map_scale, shares
from analysis.figures.animation import MARK, path, still_picture
from analysis.figures.recipe import Attention, Look, RecipeError
from analysis.geometry import Grid
from analysis.maps import attention_rows
from tests.analysis.figures.small import CELLS, MAPS, PIXELS, make_capture, make_recipe

HASHES = {"a": "0" * 64}


def frames_of(content: bytes) -> list[np.ndarray]:
    picture = Image.open(io.BytesIO(content))
    found = []
    for index in range(picture.n_frames):
        picture.seek(index)
        found.append(np.asarray(picture.convert("RGB")))
    return found


def test_the_pixel_moves_at_an_even_pace_through_all_corners():
    assert path([(0, 0), (0, 30), (10, 30)], 5) == [(0, 0), (0, 10), (0, 20), (0, 30), (10, 30)]


@pytest.mark.parametrize("file_format", MOTION_FORMATS)
def test_each_frame_shows_the_map_of_its_pixel_and_the_bytes_come_again(file_format):
    capture = make_capture()
    recipe = make_recipe(("photo", *MAPS), PIXELS, look=Look(width=8.0, colormap="gray"))
    content = animation_file(recipe, [capture] * 2, HASHES, file_format, 7, 1.4)
    assert content == animation_file(recipe, [capture] * 2, HASHES, file_format, 7, 1.4)
    frames = frames_of(content)
    assert len(frames) == 7 and Image.open(io.BytesIO(content)).info["loop"] == 0
    assert len({frame.tobytes() for frame in frames}) > 3
    assert b"recipe_sha256" in content and json.dumps(HASHES["a"]).encode()[1:9] in content
    pixels = path(PIXELS, 7)
    cells = [capture.cell_at(*pixel) for pixel in pixels]
    raw = shares(attention_rows(capture, cells).raw)
    every = [shares(rows) for rows in attention_rows(capture, cells)]
    norm = map_scale(every, recipe.scale).norm
    _, boxes = still_picture(recipe, capture, recipe.columns)
    left, top, right, bottom = boxes["raw"]
    ys, xs = Grid((bottom - top, right - left), CELLS).centres()  # dots in the middle of each cell
    for frame, row, pixel in zip(frames, raw, pixels, strict=True):
        shown = frame[top + ys.astype(int)][:, left + xs.astype(int), 0] / 255
        y, x = (side * (right - left) / 72 for side in pixel)
        free = np.hypot(ys[:, None] - y, xs - x) > 2 * MARK
        np.testing.assert_allclose(shown[free], np.clip(norm(row), 0, 1)[free], atol=0.03)


def test_what_cannot_move_is_said():
    capture = make_capture()
    for changes in ({"columns": ("photo",)}, {"pixels": PIXELS[:1]}):
        with pytest.raises(RecipeError, match="its pixel moves from row to row"):
            animation_file(make_recipe(**changes), [capture] * 2, HASHES, "gif")
    recipe = make_recipe()
    own = dataclasses.replace(recipe.rows[0], attention=Attention(gate="binary"))
    with pytest.raises(RecipeError, match="of one image, model and attention"):
        animation_file(dataclasses.replace(recipe, rows=(own, recipe.rows[1])), [capture] * 2, HASHES, "gif")
    for frames, seconds in ((1, 1.0), (601, 60.0), (10, 0.01), (10, float("nan"))):
        with pytest.raises(RecipeError, match="the animation: "):
            animation_file(recipe, [capture] * 2, HASHES, "gif", frames, seconds)
