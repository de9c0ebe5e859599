"""A recipe's attention in motion: its maps as the pixel moves from row to row, as a GIF, WebP or MP4 file.

The figure of the first row is drawn once; each frame puts the maps of its pixel, and a mark, into the panels. The same
recipe, checkpoints and images give the same bytes, but for MP4, which is the work of the machine's ffmpeg.
"""

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image, ImageDraw

from analysis.capture import Capture
from analysis.figures.figure import provenance, recipe_figure
from analysis.figures.panels import Subject, map_scale, shares
from analysis.figures.reading import RecipeError, naming
from analysis.figures.recipe import PICTURES, Column, Recipe
from analysis.figures.video import WANTED, has_ffmpeg, mp4_file
from analysis.maps import stage_rows
from analysis.options import STAGES, stages_there
from analysis.threads import one_thread

MOTION_FORMATS = ("gif", "webp", "mp4")
FRAMES, SECONDS = 60, 6.0
MOST_FRAMES = 600
DOTS_PER_INCH = 100
MARK = 5  # radius of the pixel's mark, in dots
WEBP_QUALITY = 80


def animation_file(
    recipe: Recipe,
    captures: Sequence[Capture],
    hashes: Mapping[str, str],
    file_format: str,
    frames: int = FRAMES,
    seconds: float = SECONDS,
) -> bytes:
    """The recipe's attention in motion, one of MOTION_FORMATS; GIF and WebP run for ever.

    The pixel moves along straight lines through those of the recipe's rows, which must be two at least, of one image,
    checkpoint and attention; all maps have one colour scale. Pictures and stages have panels, differences none; crops,
    insets and annotations stay away.
    captures, hashes: as in `figure_file`. Raises RecipeError, also for MP4 where there is no ffmpeg.
    """
    if file_format == "mp4" and not has_ffmpeg():
        raise RecipeError(f"the animation: {WANTED}")
    columns = [name for name in recipe.columns if name in PICTURES or name in STAGES]
    with naming("the animation"), one_thread():
        _require_one_scene(recipe, frames, seconds)
        pixels = path([row.pixel for row in recipe.rows if row.pixel is not None], frames)
        maps = _maps(recipe, captures[0], columns, pixels)
        still, boxes = still_picture(recipe, captures[0], columns)
        pictures = [_frame(still, boxes, maps, index, pixels[index], Subject(captures[0])) for index in range(frames)]
    note = json.dumps(provenance(recipe, hashes))
    if file_format == "mp4":
        return mp4_file(pictures, seconds / frames, note)
    file, duration = io.BytesIO(), round(1000 * seconds / frames)
    common = {"save_all": True, "append_images": pictures[1:], "duration": duration, "loop": 0}
    if file_format == "gif":
        pictures[0].save(file, "GIF", comment=note.encode(), **common)
    else:
        exif = Image.Exif()
        exif[0x010E] = note  # ImageDescription
        pictures[0].save(file, "WEBP", quality=WEBP_QUALITY, exif=exif, **common)
    return file.getvalue()


def path(corners: Sequence[tuple[int, int]], frames: int) -> list[tuple[int, int]]:
    """Pixels (y, x), one a frame, at an even pace along the lines through the corners, from the first to the last."""
    places = np.asarray(corners, np.float64)
    lengths = np.hypot(*np.diff(places, axis=0).T)
    at = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.linspace(0, at[-1], frames)
    ys, xs = (np.interp(steps, at, places[:, side]).round().astype(int) for side in (0, 1))
    return list(zip(ys.tolist(), xs.tolist(), strict=True))


def is_one_scene(recipe: Recipe) -> bool:
    """Whether the rows are pixels, two at least, of one image, checkpoint and attention, with maps to be shown."""
    scenes = {(row.image, recipe.checkpoint_of(row), recipe.attention_of(row)) for row in recipe.rows}
    pixels = {row.pixel for row in recipe.rows} - {None}
    return len(scenes) == 1 and len(pixels) > 1 and bool(set(recipe.columns) & set(STAGES))


def _require_one_scene(recipe: Recipe, frames: int, seconds: float) -> None:
    if not is_one_scene(recipe):
        raise RecipeError(
            "its pixel moves from row to row: it takes two pixels of one image, model and attention, and the column "
            "raw, rectified or retained"
        )
    if not 2 <= frames <= MOST_FRAMES:
        raise RecipeError(f"{frames} frames are asked for; it has 2 … {MOST_FRAMES}")
    if not 0.02 * frames <= seconds <= 10 * frames:
        raise RecipeError(f"{frames} frames in {seconds:g} seconds are no animation; a frame takes 0.02 … 10 seconds")


def _maps(
    recipe: Recipe, capture: Capture, columns: Sequence[str], pixels: Sequence[tuple[int, int]]
) -> dict[str, np.ndarray]:
    """Stage -> frames×h×w×3 uint8, in the colours of one scale."""
    attention = recipe.attention_of(recipe.rows[0])
    cells = [Subject(capture, pixel).query for pixel in pixels]
    stages = stage_rows(capture, cells, attention)
    shown = {name: getattr(stages, name) for name in stages_there(attention.of(capture)) if name in columns}
    if recipe.scale.kind in ("uniform", "log"):
        shown = {name: shares(rows) for name, rows in shown.items()}
    colours = matplotlib.colormaps[recipe.look.colormap]
    if recipe.scale.kind == "map":  # each stage has its own
        norms = {name: map_scale([rows], recipe.scale).norm for name, rows in shown.items()}
    else:
        norms = dict.fromkeys(shown, map_scale(list(shown.values()), recipe.scale).norm)
    return {name: colours(norms[name](rows), bytes=True)[..., :3] for name, rows in shown.items()}


def still_picture(
    recipe: Recipe, capture: Capture, columns: Sequence[Column]
) -> tuple[Image.Image, dict[Column, tuple[int, int, int, int]]]:
    """What does not move, and the place of each column's panel in it: (left, top, right, bottom) in dots."""
    look = dataclasses.replace(
        recipe.look,
        noise_figures=False,
        query_marker=False,
        class_outline="none",
        class_titles=False,
        colour_bar="none",
    )
    row = dataclasses.replace(recipe.rows[0], title="", columns=None, crop=None, inset=None, annotations=())
    titles = None
    if recipe.column_titles is not None:
        titles = tuple(
            title for name, title in zip(recipe.all_columns, recipe.column_titles, strict=True) if name in columns
        )
    one = dataclasses.replace(recipe, rows=(row,), columns=tuple(columns), column_titles=titles, look=look, heads=())
    figure = recipe_figure(one, [capture])
    figure.set_dpi(DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    still = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    there = stages_there(recipe.attention_of(recipe.rows[0]).of(capture))
    shown = [name for name in columns if name in PICTURES or name in there]
    boxes = {}
    for name, ax in zip(shown, figure.axes, strict=True):
        box = ax.get_window_extent()
        boxes[name] = (round(box.x0), round(still.height - box.y1), round(box.x1), round(still.height - box.y0))
    return still, boxes


def _frame(
    still: Image.Image,
    boxes: Mapping[Column, tuple[int, int, int, int]],
    maps: Mapping[str, np.ndarray],
    index: int,
    pixel: tuple[int, int],
    subject: Subject,
) -> Image.Image:
    picture = still.copy()
    draw = ImageDraw.Draw(picture)
    height, width = subject.size
    left, right, bottom, top = subject.grid(subject.capture.key_cells).extent()
    for name, (x0, y0, x1, y1) in boxes.items():
        across, down = (x1 - x0) / width, (y1 - y0) / height
        if name in maps:
            rows, columns = maps[name].shape[1:3]
            # Where each dot of the panel lies among the cells; outside of them the still picture stays.
            xs = ((np.arange(x1 - x0) + 0.5) / across - 0.5 - left) * columns / (right - left)
            ys = ((np.arange(y1 - y0) + 0.5) / down - 0.5 - top) * rows / (bottom - top)
            inside_x, inside_y = (xs >= 0) & (xs < columns), (ys >= 0) & (ys < rows)
            dots = np.asarray(picture.crop((x0, y0, x1, y1))).copy()
            cells = maps[name][index][ys[inside_y].astype(int)][:, xs[inside_x].astype(int)]
            dots[np.ix_(inside_y, inside_x)] = cells
            picture.paste(Image.fromarray(dots), (x0, y0))
        y, x = y0 + (pixel[0] + 0.5) * down, x0 + (pixel[1] + 0.5) * across
        for radius, colour, line in ((MARK + 1, "black", 4), (MARK, "white", 2)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=colour, width=line)
    return picture
