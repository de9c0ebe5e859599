"""The folder of predictions: what made them, which images are finished, and files that are never half written.

    DIR/prediction.json    checkpoint, classes, coding of the labels and how the image was seen
    DIR/labels/…  DIR/colours/…  DIR/overlays/…  DIR/confidence/…  DIR/probabilities/…

An image's label file is written last and remembers the pixels that it was made from: where it does, all of the image's
files are there, and of this very image. What was changed since, or is of another image, is never replaced; nor are
probabilities of another checkpoint, which remember what made them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dnl.files import remove_leftovers, write_atomically, write_json
from dnl.predict.marks import Marked, read_marked, read_npz_marks
from dnl.predict.pictures import Pictures
from dnl.untrusted import read_json_object, read_text_file, shortened

FACTS = "prediction.json"
KINDS = ("labels", "colours", "overlays", "confidence", "probabilities")
# Facts that say nothing about what the files hold.
ASIDE = ("checkpoint",)
# Facts that a file of probabilities does not repeat: it has the names of the classes, and no labels.
ELSEWHERE = ("classes", "labels")

# Why a file is in the way of another.
CHANGED = "was changed, or is not of this command"
OTHER_IMAGE = "is of another image, or of this one as it was before"


class FolderError(ValueError):
    """A folder into which these predictions cannot go; the message says why."""


class PredictionFolder:
    """The folder `root` for predictions that `facts` (as JSON) determine, with the files that `pictures` ask for."""

    def __init__(self, root: Path, facts: Mapping[str, Any], pictures: Pictures):
        self.root, self.facts, self.pictures = root, dict(facts), pictures

    @property
    def made(self) -> dict[str, Any]:
        """What a file says of how it was made: the facts, of the checkpoint its file's name alone."""
        made = {key: fact for key, fact in self.facts.items() if key not in ELSEWHERE}
        return made | {key: Path(made[key]).name for key in ASIDE if key in made}

    def open(self) -> None:
        """Make the folder, or go on with it; remove what a killed writer has left. Nobody may be writing there.

        Raises FolderError where it holds predictions that were made otherwise, or folders that are not this command's.
        """
        file = self.root / FACTS
        if file.exists():
            self._require_same(file)
        else:
            if found := next((kind for kind in KINDS if (self.root / kind).exists()), None):
                raise FolderError(
                    f"{self.root} has a folder {found}/ and no {FACTS}, so that {found}/ is not of this command; name "
                    "another --out"
                )
            try:
                self.root.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise FolderError(
                    f"{self.root} cannot be a folder, for a file is in its way; name another --out"
                ) from error
            write_json(file, self.facts)
        remove_leftovers(self.root)
        for kind in KINDS:
            for folder in (self.root / kind, *(path for path in (self.root / kind).rglob("*") if path.is_dir())):
                remove_leftovers(folder)

    def _require_same(self, file: Path) -> None:
        try:
            there = read_json_object(read_text_file(file), "inference", dict)
        except ValueError as error:
            raise FolderError(f"{file} cannot be read: it {error}; name another --out") from error
        for key in self.facts.keys() - set(ASIDE):
            if there.get(key) != self.facts[key]:
                raise FolderError(
                    f"{self.root} holds predictions that were made otherwise ({key} is {shortened(there.get(key))} "
                    f"there, {shortened(self.facts[key])} here); name another --out, or remove it"
                )

    def finished(self, name: str, source: str) -> np.ndarray | None:
        """The classes of an image, H×W uint8, where all of its files are there; None where it is to be predicted.

        source: the image's `fingerprint`. Raises ValueError where a file is in the way: one that is not as this command
        has written it, or the labels of another image.
        """
        *others, labels = (self.root / place for place in self.pictures.places(name))
        classes = None
        if labels.exists():
            found = _untouched(name, labels)
            if found.source != source:
                raise _in_the_way(name, labels, OTHER_IMAGE)
            classes = self.pictures.labels.decode(found.values)
        there = [file for file in others if file.is_file()]
        complete = classes is not None and len(there) == len(others)
        for file in there:
            if file.suffix == ".npz":
                self._require_own(name, file, source, whole=not complete)
            elif not complete:
                _untouched(name, file)
        return classes if complete else None

    def _require_own(self, name: str, file: Path, source: str, *, whole: bool) -> None:
        """Refuse probabilities that are not of this image as these facts have it, or, where `whole`, were changed."""
        try:
            found = read_npz_marks(file, whole=whole)
        except ValueError as error:
            raise _in_the_way(name, file, f"is not of this command: {error}") from error
        if not found.untouched:
            raise _in_the_way(name, file, CHANGED)
        if found.source != source:
            raise _in_the_way(name, file, OTHER_IMAGE)
        differing = [key for key in self.made if key not in ASIDE and found.made.get(key) != self.made[key]]
        if differing:
            raise _in_the_way(name, file, f"was made otherwise ({differing[0]} differs)")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write an image's files by their places, in their order, each atomically. Raises OSError."""
        for place, content in files.items():
            file = self.root / place
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, partial(Path.write_bytes, data=content))


def in_a_prediction(file: Path) -> bool:
    """Whether a path leads into one of the folders that a run of this command has written."""
    return any(folder.name in KINDS and (folder.parent / FACTS).is_file() for folder in file.parents)


def _untouched(name: str, file: Path) -> Marked:
    """What a file of the image `name` holds. Raises ValueError where it is not as this command has written it."""
    try:
        found = read_marked(file.read_bytes())
    except ValueError as error:
        raise _in_the_way(name, file, f"is not of this command: {error}") from error
    if not found.untouched:
        raise _in_the_way(name, file, CHANGED)
    return found


def _in_the_way(name: str, file: Path, why: str) -> ValueError:
    return ValueError(
        f"image {name} is left out, for {file} {why}; move that file away to have the image predicted, or name another "
        "--out"
    )
