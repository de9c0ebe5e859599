"""How a predicted label image is written: as class indices, or as a benchmark's server wants it, under its names."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dnl.classes import ADE20K, CITYSCAPES, VOC, LabelSet
from dnl.codings import CITYSCAPES_LABEL_IDS, same_classes
from dnl.datasets.cityscapes import IMAGE_END, label_ids, prediction_file
from dnl.predict.marks import marked_png

INDICES = "indices"
# The data sets whose servers take other files than those of class indices, and what these hold.
SERVERS = {"cityscapes": CITYSCAPES, "ade20k": ADE20K, "voc": VOC}
LABEL_FORMATS = (INDICES, *SERVERS)
WORDS = {
    INDICES: "class indices, with the palette",
    "cityscapes": "Cityscapes' label ids, under the server's names",
    "ade20k": "ADE20K's annotation, 1 … 150",
    "voc": "VOC's class indices, with its palette",
}


@dataclass(frozen=True)
class LabelFormat:
    """One way to write the classes of `label_set`: `key` is one of LABEL_FORMATS, `words` say what the files hold."""

    key: str
    label_set: LabelSet

    @property
    def words(self) -> str:
        """What a file holds."""
        return WORDS[self.key]

    def file_of(self, name: str) -> str:
        """The file of an image, a path with `/`. Raises ValueError for a name that the server does not know."""
        if self.key == "cityscapes":
            return prediction_file(name.rpartition("/")[2].removesuffix(IMAGE_END))
        return f"{name}.png"

    def encode(self, name: str, classes: np.ndarray, source: str) -> bytes:
        """A PNG file of class indices H×W uint8. source: the `fingerprint` of the image, which the file remembers."""
        if self.key == "cityscapes":
            picture = Image.fromarray(label_ids(name, classes))
        elif self.key == "ade20k":
            picture = Image.fromarray(classes + 1)
        else:
            picture = Image.fromarray(classes)
            palette = np.zeros((256, 3), np.uint8)
            palette[: self.label_set.num_classes] = self.label_set.palette
            picture.putpalette(palette.tobytes())
        return marked_png(picture, source)

    def decode(self, values: np.ndarray) -> np.ndarray:
        """The classes that `encode` has written as these values, H×W uint8 each."""
        index_of = np.zeros(256, np.uint8)
        if self.key == "cityscapes":
            index_of[list(CITYSCAPES_LABEL_IDS)] = np.arange(CITYSCAPES.num_classes)
        elif self.key == "ade20k":
            index_of[1:] = np.arange(255)
        else:
            index_of[:] = np.arange(256)
        return index_of[values]


def label_format(key: str, label_set: LabelSet) -> LabelFormat:
    """The format `key` of a network's classes. Raises ValueError where the server's classes are others."""
    if key in SERVERS and not same_classes(label_set, SERVERS[key]):
        raise ValueError(
            f"the checkpoint's classes are those of {label_set.name}, not of {key}, so that its server could not score "
            f"them; write class indices (--labels {INDICES})"
        )
    return LabelFormat(key, label_set)
