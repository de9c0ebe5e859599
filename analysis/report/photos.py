"""A plain folder of photos as a data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from analysis.files.photos import UploadError, read_photo
from dnl.classes import LabelSet
from dnl.datasets import DatasetError, Origin, Sample, open_dataset, require_text_name, visible
from dnl.pictures import PHOTO_FORMATS, is_other_picture, is_picture, words_of


class Images(Protocol):
    """A sequence of Samples with their origins, and the classes of their labels; None where they have none."""

    @property
    def label_set(self) -> LabelSet | None: ...

    @property
    def origins(self) -> Sequence[Origin]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Sample: ...


class PhotoError(DatasetError):
    """A photo that cannot be used: its file's name, and the reason as a clause."""

    def __init__(self, name: str, reason: str):
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name} cannot be used: {self.reason}"


class Photos:
    """A folder of photos without labels, as Samples whose `labels` are None; `unused` are the files that are none.

    Raises DatasetError for a folder without photos and a name that is no text, and PhotoError on reading a photo that
    cannot be used, those of formats that cannot be read here among them.
    """

    label_set = None

    def __init__(self, root: str | Path):
        found = visible(Path(root))
        self.files = [file for file in found if is_picture(file.name) or is_other_picture(file.name)]
        self.unused = sorted(set(found).difference(self.files))
        if not self.files:
            raise DatasetError(f"{root} holds no {words_of(PHOTO_FORMATS)} photo, and no images/ folder either")
        for file in self.files:
            require_text_name(file)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def origins(self) -> list[Origin]:
        """No group: nothing says which photos are of one scene."""
        return [Origin()] * len(self.files)

    def __getitem__(self, index: int) -> Sample:
        file = self.files[index]
        try:
            return Sample(read_photo(file.read_bytes()).image, None, file.name)  # type: ignore[arg-type]
        except OSError as error:
            raise PhotoError(file.name, f"the file cannot be read ({error.strerror})") from error
        except UploadError as error:
            sentence = str(error).rstrip(".")
            raise PhotoError(file.name, sentence[0].lower() + sentence[1:]) from error


def open_images(dataset: str, data: str | None, split: str, coding: str | None = None) -> Images:
    """A data set by name, or for "folder" also a plain folder of photos. coding: as in `open_dataset`.

    Raises DatasetError.
    """
    if dataset == "folder" and data is not None and Path(data).is_dir() and not (Path(data) / "images").is_dir():
        return Photos(data)
    return open_dataset(dataset, data, split, coding)
