"""Cityscapes, 19 classes, 1024×2048, in its own folder layout.

    ROOT/leftImg8bit/SPLIT/CITY/*_leftImg8bit.png    ROOT/gtFine/SPLIT/CITY/*_gtFine_labelIds.png

Label files hold Cityscapes' label ids 0 … 33, of which 19 are evaluated; these become the classes 0 … 18 (the "train
ids"), all others are ignored. The test server takes predictions in label ids again: `write_prediction`.
Groups are cities: images of one resemble each other in streets, houses, weather and light. The sequences within a city
are no groups: in most cities each holds one labelled frame, which would pass for independent of the next one, in others
one holds hundreds. They give the place in the city instead, sequence before frame.
Source: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", 2016; free for research use.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dnl.classes import CITYSCAPES
from dnl.codings import CITYSCAPES_LABEL_IDS
from dnl.datasets.base import DatasetError
from dnl.datasets.finding import label_files_below, pictures_in, require_folders, require_split, visible
from dnl.datasets.groups import Origin, in_natural_order
from dnl.datasets.pairs import LabelledFiles
from dnl.files import write_atomically

SPLITS = ("train", "val", "test")
WORDS = "Cityscapes' label ids are 0 … 33; use the files *_gtFine_labelIds.png as they were delivered"
IMAGE_END, LABEL_END = "_leftImg8bit", "_gtFine_labelIds"


class Cityscapes(LabelledFiles):
    """A sequence of Samples in the order of cities and file names, named like aachen_000000_000019.

    The labels of the test split are not public: it may come without gtFine, and every pixel is then ignored.
    coding: of the labels, where it is not that of label ids. Raises DatasetError when a folder or a label file is
    missing, and on reading a sample whose files do not fit.
    """

    label_set = CITYSCAPES

    def __init__(self, root: str | Path, split: str = "train", *, coding: str | None = None):
        require_split("Cityscapes", split, SPLITS)
        images, annotations = (Path(root) / part / split for part in ("leftImg8bit", "gtFine"))
        needed = [images] if split == "test" else [images, annotations]
        require_folders(needed, "a Cityscapes folder holds leftImg8bit/ and gtFine/, each with train/, val/ and test/")
        files, unused = [], []
        for city in visible(images):
            pictures, others = pictures_in(city) if city.is_dir() else ([], [city])
            files += [file for file in pictures if file.stem.endswith(IMAGE_END)]
            unused += others + [file for file in pictures if not file.stem.endswith(IMAGE_END)]
        if not files:
            raise DatasetError(f"{images} holds no file CITY/*{IMAGE_END}.png; unpack leftImg8bit_trainvaltest.zip")
        names = [file.stem.removesuffix(IMAGE_END) for file in files]
        places = [f"{file.parent.name}/{name}{LABEL_END}" for file, name in zip(files, names, strict=True)]
        label_files = label_files_below(places, annotations, required=split != "test")
        super().__init__(
            CITYSCAPES,
            WORDS,
            names,
            files,
            label_files,
            coding=coding,
            expected="label-ids",
            unused=unused,
            origins=cityscapes_origins(names, [file.parent.name for file in files]),
        )


def cityscapes_origins(names: Sequence[str], cities: Sequence[str]) -> list[Origin]:
    """The city of each image and its place there: sequence · 10⁶ + frame, or of other names their order."""
    matches = [re.fullmatch(r".+_(\d{6})_(\d{6})", name, re.ASCII) for name in names]
    if None in matches:
        return in_natural_order(names, cities)
    places = [int(match[1]) * 10**6 + int(match[2]) for match in matches if match is not None]
    return [Origin(city, place) for city, place in zip(cities, places, strict=True)]


def write_prediction(folder: str | Path, name: str, prediction: np.ndarray) -> Path:
    """Write class indices 0 … 18 (H×W integers, at the image's full size) as label ids for the test server.

    `name` is the sample's, such as berlin_000000_000019; the file is FOLDER/berlin_000000_000019_labelIds.png, and its
    path is returned. Raises ValueError for a name or a prediction that the server could not match.
    """
    file = Path(folder) / prediction_file(name)
    picture = Image.fromarray(label_ids(name, prediction))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, lambda temporary: picture.save(temporary, format="PNG"))
    return file


def prediction_file(name: str) -> str:
    """The name of the file in which the test server takes an image's prediction; ValueError for another name."""
    if not re.fullmatch(r"[a-z-]+_\d{6}_\d{6}", name, re.ASCII):
        raise ValueError(f"{name!r} is no name of a Cityscapes image; they are like berlin_000000_000019")
    return f"{name}_labelIds.png"


def label_ids(name: str, prediction: np.ndarray) -> np.ndarray:
    """Class indices 0 … 18 of the image `name` (H×W integers) as label ids, uint8. Raises ValueError on others."""
    if prediction.ndim != 2 or not np.issubdtype(prediction.dtype, np.integer):
        raise ValueError(f"the prediction is {prediction.shape} {prediction.dtype}; it must be H×W integers")
    if prediction.size == 0 or prediction.min() < 0 or prediction.max() >= CITYSCAPES.num_classes:
        raise ValueError(f"the prediction for {name} must hold class indices 0 … {CITYSCAPES.num_classes - 1} only")
    return np.array(CITYSCAPES_LABEL_IDS, np.uint8)[prediction]
