"""A prediction's files: labels, colours, an overlay, probabilities and confidence, as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from dnl.predict.label_files import LabelFormat
from dnl.predict.marks import marked_npz, marked_png

# Of the classes' colours over the photo.
OPACITY = 0.5
# A photo's PNG takes five times as long with zlib's usual level, and is a tenth smaller.
QUICK = 1


@dataclass(frozen=True)
class Pictures:
    """What is written of each image beside its labels: colours and overlay always, the others where they are wanted."""

    labels: LabelFormat
    probabilities: bool = False
    confidence: bool = False

    @property
    def needs_probabilities(self) -> bool:
        """Whether more is needed than the classes."""
        return self.probabilities or self.confidence

    def places(self, name: str) -> list[str]:
        """The files of an image, paths with `/` below the folder of predictions; its labels come last.

        Raises ValueError for a name that the labels' server does not know.
        """
        places = [f"colours/{name}.png", f"overlays/{name}.png"]
        if self.confidence:
            places.append(f"confidence/{name}.png")
        if self.probabilities:
            places.append(f"probabilities/{name}.npz")
        return [*places, f"labels/{self.labels.file_of(name)}"]


def prediction_files(
    name: str,
    image: np.ndarray,
    classes: np.ndarray,
    pictures: Pictures,
    *,
    probabilities: np.ndarray | None = None,
    source: str = "",
    made: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, bytes]:
    """The files of one image by their places, in their order.

    image: H×W×3 uint8. classes: H×W uint8. probabilities: classes×H×W, where `pictures` needs them; they are stored as
    float16, and the confidence, that of the class in each pixel, as grey 0 … 255. source: what `labels` and
    `probabilities` remember. made: what the latter say of how they were made.
    """
    coloured = Image.fromarray(pictures.labels.label_set.colour(classes))
    blended = Image.blend(Image.fromarray(image), coloured, OPACITY)
    contents = [marked_png(picture, compress_level=QUICK) for picture in (coloured, blended)]
    if pictures.needs_probabilities:
        if probabilities is None:
            raise ValueError("these files need the probabilities of the classes, and there are none")
        if pictures.confidence:
            best = np.take_along_axis(probabilities, classes[None].astype(np.intp), axis=0)[0]
            grey = Image.fromarray(np.rint(255 * best.clip(0, 1)).astype(np.uint8))
            contents.append(marked_png(grey, compress_level=QUICK))
        if pictures.probabilities:
            contents.append(marked_npz(probabilities, pictures.labels.label_set.class_names, source, made))
    contents.append(pictures.labels.encode(name.rpartition("/")[2], classes, source))
    return dict(zip(pictures.places(name), contents, strict=True))
