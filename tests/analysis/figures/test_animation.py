"""Attention in motion: the maps of the pixels on the way, the same bytes again."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from analysis.figures import animation_file, has_ffmpeg, map_scale, shares
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


@pytest.mark.parametrize("file_format", ["gif", "webp"])
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


# In place of ffmpeg: keeps what it is told and given, and fails where it is asked to.
STAND_IN = """#!{python}
import json, os, sys
if os.environ.get("BROKEN"):
    sys.exit("Unknown encoder 'libx264'")
open(sys.argv[-1], "wb").write(json.dumps(sys.argv).encode() + b"\\n" + sys.stdin.buffer.read())
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def moving() -> tuple:
    capture = make_capture()
    recipe = make_recipe(("photo", *MAPS), PIXELS, look=Look(width=4.51, colormap="gray"))
    return recipe, [capture] * 2, HASHES


def test_a_video_s_program_gets_every_frame_with_even_sides(stand_in):
    told, _, frames = animation_file(*moving(), "mp4", 5, 2.0).partition(b"\n")
    told = json.loads(told)
    width, height = map(int, told[told.index("-s") + 1].split("x"))
    assert width == 452 and height % 2 == 0 and float(told[told.index("-framerate") + 1]) == 2.5
    assert len(frames) == 5 * width * height * 3
    assert "recipe_sha256" in told[told.index("-metadata") + 1]
    shown = np.frombuffer(frames, np.uint8).reshape(5, height, width, 3)
    for one, other in zip(shown, frames_of(animation_file(*moving(), "gif", 5, 2.0)), strict=True):
        high, wide = other.shape[:2]
        assert np.abs(one[:high, :wide].astype(int) - other).mean() < 4  # a GIF has 256 colours
        assert (one[:, -1] == one[:, -2]).all() or wide % 2 == 0


def test_without_the_program_or_with_one_that_fails_one_sentence_says_what_is_needed(stand_in, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(RecipeError, match="ffmpeg could not write the video: Unknown encoder 'libx264'"):
        animation_file(*moving(), "mp4", 2, 1.0)
    monkeypatch.setenv("PATH", "")
    assert not has_ffmpeg()
    with pytest.raises(RecipeError, match="the animation: an MP4 takes the program ffmpeg, which is not found here"):
        animation_file(*moving(), "mp4", 2, 1.0)


@pytest.mark.skipif(not has_ffmpeg(), reason="no ffmpeg on this machine")
def test_the_machine_s_ffmpeg_writes_the_frames(tmp_path):
    path = tmp_path / "motion.mp4"
    path.write_bytes(animation_file(*moving(), "mp4", 5, 2.0))
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(["ffmpeg", "-v", "error", "-i", path, *raw], capture_output=True, check=True).stdout
    frames = frames_of(animation_file(*moving(), "webp", 5, 2.0))
    height, width = (side + side % 2 for side in frames[0].shape[:2])
    shown = np.frombuffer(decoded, np.uint8).reshape(5, height, width, 3)
    for one, other in zip(shown, frames, strict=True):
        assert np.abs(one[: other.shape[0], : other.shape[1]].astype(int) - other).mean() < 6


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
