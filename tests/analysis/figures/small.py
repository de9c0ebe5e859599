"""A small capture and its figures, and recipes in files, for the tests of this room."""

import json
from pathlib import Path

import numpy as np

from analysis import Capture
from analysis.figures import main, recipe_figure
from analysis.figures.recipe import Checkpoint, Recipe, Row, StreetImage
from analysis.geometry import Grid
from dnl.classes import CAMVID

SIZE, CELLS = (40, 72), (5, 9)
QUERIES = [13, 40]
PIXELS = [Grid(SIZE, CELLS).pixel_at(*divmod(query, CELLS[1])) for query in QUERIES]
MAPS = ("raw", "rectified", "retained")
CHANGES = ("rectified-raw", "retained-rectified")


def make_capture() -> Capture:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(11), 45).T.reshape(11, *CELLS).astype(np.float32)
    return Capture(
        query=rng.normal(size=(4, *CELLS)).astype(np.float32),
        key=rng.normal(size=(4, *CELLS)).astype(np.float32),
        class_probs=probs,
        image=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        labels=np.kron(rng.integers(0, 3, CELLS), np.ones((8, 8), int)).astype(np.uint8),
        prediction=rng.integers(0, 11, SIZE).astype(np.uint8),
        label_set=CAMVID,
        gate="sigmoid",
        lr_kernel=3,
    )


def make_recipe(columns=MAPS, pixels=PIXELS, **parts) -> Recipe:
    return Recipe((Checkpoint("a"),), tuple(Row(StreetImage(0), pixel) for pixel in pixels), tuple(columns), **parts)


def draw(capture, columns=MAPS, pixels=PIXELS, **parts):
    return recipe_figure(make_recipe(columns, pixels, **parts), [capture] * len(pixels))


def panels(figure):
    """The axes of the panels, row by row; what is left over are colour bars."""
    return [ax for ax in figure.axes if ax.images]


def bars(figure):
    return [ax for ax in figure.axes if not ax.images]


def words(figure):
    return [text.get_text() for text in figure.texts]


def caption(figure, ax) -> str:
    """The lines centred right under a panel."""
    box = ax.get_position()
    below = 0.35 / figure.get_size_inches()[1]
    lines = [
        (-y, text.get_text())
        for text in figure.texts
        for x, y in [text.get_position()]
        if abs(x - (box.x0 + box.x1) / 2) < 1e-6 and box.y0 - below < y < box.y0
    ]
    return "\n".join(line for _, line in sorted(lines))


FILE_SIZE = (48, 64)  # of the photo in `folder`
IMAGE = {"source": "file", "path": "photo.png", "labels": "labels.png"}
VALUES = {
    "checkpoints": [{"name": "small"}],
    "rows": [{"image": IMAGE, "pixel": [10, 50], "title": "one"}, {"image": IMAGE, "pixel": [40, 5]}],
    "columns": ["photo", "labels", "raw", "retained", "retained-rectified"],
    "look": {"class_outline": "true", "letters": "columns"},
}


def write(folder: Path, values: dict) -> Path:
    path = folder / "recipe.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def make(folder: Path, name: str, *options: str) -> bytes:
    assert main([str(folder / "recipe.json"), str(folder / name), *options]) == 0
    return (folder / name).read_bytes()
