"""Maps that do not lie evenly over the images that the model was given: this is said, and what would be laid on the
wrong place is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from analysis.catch.layout import Layout
from analysis.catch.volumes import PICTURES


def notes_of(path: str, layout: Layout) -> tuple[str, ...]:
    """Sentences on a map that does not lie evenly over an image, and on keys of another input than the queries'."""
    sides = {"queries": layout.query.aside, "keys": layout.key.aside}
    if sides["queries"] == sides["keys"]:
        sides = {"cells": sides["queries"]}
    notes = [f"{path}: its {name} are {aside}" for name, aside in sides.items() if aside is not None]
    if layout.of_two_inputs:
        notes.append(
            f"{path}: its keys are cells of another input of the model than its queries, such as a second image"
        )
    return tuple(notes)


def require_no_pictures(path: str, layout: Layout, description: Mapping[str, Any]) -> None:
    """Raise ValueError for pictures beneath a map that does not lie evenly over them; labels of these cells themselves
    may come."""
    for side in (layout.query, layout.key):
        for name in PICTURES if side.aside is not None else ():
            given = description.get(name)
            if given is not None and (name == "image" or np.shape(given) != side.grid):
                raise ValueError(
                    f"{name} cannot lie beneath {path!r}, whose cells are {side.aside}; do that to the picture before "
                    f"the model, or leave {name} out"
                )


def require_mendable(path: str, layout: Layout, probs: Tensor | None) -> None:
    """Raise ValueError for class probabilities B×classes×h×w that are not those of the images, cell by cell."""
    if probs is None:
        return
    images = len(layout.groups)
    if len(probs) != images:
        raise ValueError(
            f"{path!r} works on {images} images and class_probs are of {len(probs)}; give those of each, cell by cell"
        )
    for side in (layout.query, layout.key):
        if side.aside is not None and tuple(probs.shape[2:]) != side.grid:
            raise ValueError(
                f"{path!r}: its cells are {side.aside}, so class_probs of whole images do not fit; give them for the "
                f"{side.grid[0]}×{side.grid[1]} cells"
            )
