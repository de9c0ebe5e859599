"""The figure of a recipe, as a command.

    python -m analysis.figures recipe.json out.pdf
    python -m analysis.figures recipe.json out.gif --frames 60 --seconds 6

makes the figure of a recipe (analysis/figures/recipe.py) as PDF, SVG or PNG, or its attention in motion from row to row
as GIF or WebP (analysis/figures/animation.py). The same recipe, checkpoint and images
give the same bytes (analysis/printing/files.py); what is another than when the recipe was saved is said, a line each.
"""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.figures.animation import FRAMES, MOTION_FORMATS, SECONDS, animation_file
from analysis.figures.captions import class_sentences
from analysis.figures.figure import figure_file
from analysis.figures.panels import Subject
from analysis.figures.reading import RecipeError, naming
from analysis.figures.recipe import CamVidImage, FileImage, ImageSource, StreetImage, recipe_from_json
from analysis.figures.record import source_differences, version_differences
from analysis.figures.sources import (
    FigureImage,
    FigureModel,
    attention_file,
    camvid_image,
    file_image,
    open_captures,
    street_image,
)
from analysis.printing import FORMATS, RESOLUTIONS
from dnl import load_checkpoint
from dnl.checkpoints import checkpoint_hash
from dnl.classes import LabelSet
from dnl.commands import exit_status, program, show_anything
from dnl.files import write_atomically
from dnl.untrusted import one_line


def _local_model(name: str) -> FigureModel:
    network, _ = load_checkpoint(name)
    return FigureModel(network, checkpoint_hash(name))


def _local_image(source: ImageSource, label_set: LabelSet, folder: Path, data: str | None) -> FigureImage:
    """Whatever a recipe may name when a user runs it on the own machine; paths are relative to `folder`."""
    if isinstance(source, StreetImage):
        return street_image(source, label_set)
    if isinstance(source, CamVidImage):
        if data is None:
            raise RecipeError("CamVid needs its folder; name it with --data DIR")
        return camvid_image(source, Path(data), label_set)
    assert isinstance(source, FileImage)  # attention files are opened apart
    return file_image(source, lambda path: _bytes_of(folder / path), label_set)


def _bytes_of(path: Path) -> bytes:
    """A file that a recipe, perhaps a stranger's, names: a pipe or device would be read without end."""
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"{path} is no file")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        raise RecipeError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error


def write_figure(
    recipe_path: Path, out: Path, *, data: str | None, dpi: int, frames: int = FRAMES, seconds: float = SECONDS
) -> None:
    """Make the figure of the recipe file, or its motion, and write it to `out`. Raises RecipeError in one sentence."""
    file_format = out.suffix.lower().removeprefix(".")
    if file_format not in (*FORMATS, *MOTION_FORMATS):
        known = ", .".join((*FORMATS, *MOTION_FORMATS))
        raise RecipeError(f"{out.name} ends in no known format; let it end in .{known}")
    if not out.parent.is_dir():
        raise RecipeError(f"the folder {out.parent} does not exist; create it first")
    text = _bytes_of(recipe_path)
    with naming(recipe_path.name):
        recipe = recipe_from_json(text)
        _say(version_differences(recipe))
        captures, hashes = open_captures(
            recipe,
            _local_model,
            lambda source, label_set: _local_image(source, label_set, recipe_path.parent, data),
            open_attention=lambda source: attention_file(source, lambda path: _bytes_of(recipe_path.parent / path)),
        )
        _say(source_differences(recipe, captures, hashes))
        if file_format in MOTION_FORMATS:
            content = animation_file(recipe, captures, hashes, file_format, frames, seconds)
        else:
            content = figure_file(recipe, captures, hashes, file_format, dpi)
    write_atomically(out, lambda temporary: Path(temporary).write_bytes(content))
    subjects = [
        Subject(capture, row.pixel) for (capture, *_), row in zip(recipe.by_row(captures), recipe.rows, strict=True)
    ]
    _say(class_sentences(subjects, recipe.columns, recipe.look))


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(one_line(sentence), file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    show_anything()
    parser = argparse.ArgumentParser(prog=program("analysis.figures"), description="Make the figure of a recipe.")
    parser.add_argument("recipe", type=Path, help="a recipe in JSON, as the Figures page saves it")
    parser.add_argument("out", type=Path, help="the file to write: .pdf, .svg or .png; .gif, .webp or .mp4 for motion")
    parser.add_argument("--data", default=os.environ.get("DNL_DATA"), help="CamVid's folder (default: $DNL_DATA)")
    parser.add_argument("--dpi", type=int, choices=RESOLUTIONS, default=300, help="of a PNG (default: 300)")
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"of a motion (default: {FRAMES})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"that a motion takes (default: {SECONDS:g})")
    options = parser.parse_args(arguments)
    motion = {"frames": options.frames, "seconds": options.seconds}
    return exit_status(lambda: write_figure(options.recipe, options.out, data=options.data, dpi=options.dpi, **motion))
