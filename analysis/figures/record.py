"""What a recipe was saved with, and what of it is another now: hashes of images, labels and files, and versions."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import numpy as np

import dnl
from analysis.capture import Capture
from analysis.figures.recipe import (
    CamVidImage,
    FileRecord,
    ImageRecord,
    ImageSource,
    Recipe,
    Record,
    StreetImage,
    Versions,
)


def versions_here() -> Versions:
    """Those that run."""
    return Versions(dnl.__version__, version("torch"), version("matplotlib"), version("numpy"))


def recorded(recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str]) -> Recipe:
    """The recipe with a record of what it is drawn with here; captures, hashes: as `open_captures` gives them."""
    files = tuple(FileRecord(name, sha256) for name, sha256 in hashes.items())
    return dataclasses.replace(recipe, record=Record(versions_here(), files, _images(recipe, captures)))


def version_differences(recipe: Recipe) -> list[str]:
    """A sentence for each version that is another than in the recipe's record; none without a record."""
    if recipe.record is None:
        return []
    here, then = dataclasses.asdict(versions_here()), dataclasses.asdict(recipe.record.versions)
    return [
        f"{name.replace('_', '-')} is {here[name]} here; the recipe was saved with {then[name]}."
        for name in here
        if here[name] != then[name]
    ]


def source_differences(recipe: Recipe, captures: Sequence[Capture], hashes: Mapping[str, str]) -> list[str]:
    """A sentence for each checkpoint, file, image and label image that is another than in the recipe's record.

    What the record does not name, such as an image that was put in by hand since, is not compared. captures, hashes: as
    `open_captures` gives them.
    """
    if recipe.record is None:
        return []
    then = {file.name: file.sha256 for file in recipe.record.files}
    found = [
        _difference(name, "file", sha256, then[name])
        for name, sha256 in hashes.items()
        if then.get(name, sha256) != sha256
    ]
    for image in _images(recipe, captures):
        known = [old for old in recipe.record.images if (old.name, old.checkpoint) == (image.name, image.checkpoint)]
        if not known or image in known:
            continue
        for what in ("image", "labels"):
            own, old = getattr(image, f"{what}_sha256"), getattr(known[0], f"{what}_sha256")
            found += [] if own == old else [_difference(image.name, what, own, old)]
    return list(dict.fromkeys(found))


def _difference(name: str, what: str, here: str | None, then: str | None) -> str:
    hashes = " and ".join(
        f"{'none' if sha256 is None else f'{sha256[:12]}…'} {when}" for sha256, when in ((here, "here"), (then, "then"))
    )
    verb = "differ" if what == "labels" else "differs"
    return f"{name}: the {what} {verb} from when the recipe was saved (SHA-256 {hashes})."


def _images(recipe: Recipe, captures: Sequence[Capture]) -> tuple[ImageRecord, ...]:
    """Each image as each checkpoint's captures have it; their labels are in the checkpoint's own classes."""
    found = []
    for row, (capture, *_) in zip(recipe.rows, recipe.by_row(captures), strict=True):
        checkpoint = recipe.checkpoint_of(row)
        found.append(
            ImageRecord(
                _name(row.image),
                None if checkpoint is None else checkpoint.name,
                capture.image_sha256,
                None if capture.labels is None else _labels_sha256(capture.labels),
            )
        )
    return tuple(dict.fromkeys(found))


def _name(image: ImageSource) -> str:
    """What an image is called here and in a record; streets are counted from 1, as on the pages."""
    if isinstance(image, StreetImage):
        return f"Street {image.index + 1}"
    if isinstance(image, CamVidImage):
        return f"CamVid {image.split}: {image.file}"
    return image.path


def _labels_sha256(labels: np.ndarray) -> str:
    """SHA-256 of class indices row by row, four bytes each, whatever type holds them."""
    return hashlib.sha256(np.ascontiguousarray(labels, "<i4").tobytes()).hexdigest()
