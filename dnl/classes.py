"""Label sets: class names, palette and ignore index of each data set."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelSet:
    """Names and colours of the classes 0 … num_classes − 1, and the label value that means "no class".

    `palette` holds one (red, green, blue) triple in 0 … 255 per class.
    """

    name: str
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ignore_index: int

    def __post_init__(self):
        if len(self.class_names) != len(self.palette):
            raise ValueError(
                f"label set {self.name!r}: {len(self.class_names)} class names but {len(self.palette)} colours; "
                "give one colour per class"
            )
        if 0 <= self.ignore_index < self.num_classes:
            raise ValueError(
                f"label set {self.name!r}: ignore index {self.ignore_index} is also the index of class "
                f"{self.class_names[self.ignore_index]!r}; choose one outside 0 … {self.num_classes - 1}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def colour(self, labels: np.ndarray) -> np.ndarray:
        """Paint class indices: labels H×W integer -> H×W×3 uint8; anything that is no class becomes black."""
        lookup = np.zeros((256, 3), np.uint8)
        lookup[: self.num_classes] = self.palette
        return lookup[np.where((labels >= 0) & (labels < self.num_classes), labels, 255)]


# Brostow, Fauqueur, Cipolla 2009, in the 11-class reduction used by SegNet and its successors.
CAMVID = LabelSet(
    name="camvid",
    class_names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=11,
)
