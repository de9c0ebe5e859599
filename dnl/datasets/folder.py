"""Your own images: a folder of images, a folder of label files, and a list of classes.

    ROOT/images/*    ROOT/labels/*.png    ROOT/classes.json                                     one split, "all"
    ROOT/images/train/…    ROOT/labels/train/…    ROOT/images/val/…    ROOT/labels/val/…    …   one split per folder
    ROOT/images/train/GROUP/*    ROOT/labels/train/GROUP/*.png    …                             the same in groups

Label files are named like their images, PNG in general. They hold class indices, or the colours of the classes: grey
and palette images the first, unless the palette shows the classes' colours at other values, colour images the second.
classes.json says what these mean:

    {"classes": [{"name": "leaf", "colour": [0, 160, 60]}, {"name": "soil", "colour": [120, 80, 40]}],
     "ignore_index": 255, "name": "my plants", "coding": "indices"}

Without "ignore_index" it is 255, without "name" the label set is called "folder", and without "coding" that is told by
what the label files hold (docs/label-images.md). The folder of the split val may also be called valid or validation.

Images of one drive, scene or patient are not independent (`dnl.datasets.groups`). They share a sub-folder of their
split, or classes.json says with a regular expression how a name without its ending gives its group, and perhaps its
place there; it must match each name as a whole:

    "groups": "(?P<group>[A-Za-z0-9]+)_frame(?P<place>[0-9]+)"

Without a place in the pattern, images of a group stand in the order of names, frame9 before frame10. Without either,
every image is taken as independent of all others.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dnl.classes import LabelSet
from dnl.codings import codings_of
from dnl.datasets.base import DatasetError
from dnl.datasets.finding import (
    composed,
    folder_named,
    folders_in,
    label_files_for,
    pictures_in,
    read_text,
    require_folders,
    visible,
)
from dnl.datasets.groups import EXAMPLE as GROUPS_EXAMPLE
from dnl.datasets.groups import Origin, compile_groups, in_natural_order, origins_by
from dnl.datasets.pairs import LabelledFiles
from dnl.pictures import PHOTO_FORMATS, words_of
from dnl.untrusted import MAX_NAME_LENGTH, is_byte, is_colour, is_name, one_line, read_json_object, shortened

EXAMPLE = '{"classes": [{"name": "leaf", "colour": [0, 160, 60]}, …], "ignore_index": 255}'
KEYS = ("classes", "ignore_index", "name", "coding", "groups")
# Other names under which the folder of a split goes.
ALIASES = {"train": ("training",), "val": ("valid", "validation"), "test": ("testing",)}


class Folder(LabelledFiles):
    """A sequence of Samples in the order of file names.

    coding: of the labels, in place of what classes.json says of it. Raises DatasetError when a folder, a label file or
    classes.json is missing or does not fit, and on reading a sample whose files do not fit.
    """

    def __init__(self, root: str | Path, split: str = "all", *, coding: str | None = None):
        root = Path(root)
        images, annotations = root / "images", root / "labels"
        require_folders([images, annotations], "the data set holds images/, labels/ and classes.json")
        splits = folders_in(images)
        if splits:
            _refuse_files_beside(images, "split", splits)
        folder = _split_folder(root, split, splits)
        if splits:
            images, annotations = images / folder, folder_named(folder, annotations)
            require_folders([annotations], f"labels/ holds the same folders as images/, {folder}/ among them")
        found = _files_in(images, annotations, grouped=bool(splits))
        classes = _read_classes(root / "classes.json")
        label_set = classes.label_set
        words = (
            f"its classes.json gives 0 … {label_set.num_classes - 1}, and {label_set.ignore_index} for ignored pixels"
        )
        super().__init__(
            label_set,
            words,
            found.names,
            found.files,
            found.label_files,
            coding=coding or classes.coding,
            unused=found.unused,
            origins=_origins(found.names, classes.groups, root / "classes.json"),
        )


class _Files(NamedTuple):
    """Images with their names and label files, and label files that belong to no image."""

    names: list[str]
    files: list[Path]
    label_files: list[Path]
    unused: list[Path]


def _files_in(images: Path, annotations: Path, *, grouped: bool) -> _Files:
    """The images of a folder; where they may be `grouped` and lie in sub-folders, those of all of these together,
    named SUB-FOLDER/NAME."""
    folders = folders_in(images) if grouped else []
    if not folders:
        return _files_of(images, annotations)
    _refuse_files_beside(images, "group", folders)
    label_folders = [folder_named(folder, annotations) for folder in folders]
    require_folders(label_folders, f"{annotations} holds the same folders as {images}")
    found = _Files([], [], [], [])
    for folder, label_folder in zip(folders, label_folders, strict=True):
        part = _files_of(images / folder, label_folder)
        found.names.extend(f"{folder}/{name}" for name in part.names)
        for whole, more in zip(found[1:], part[1:], strict=True):
            whole.extend(more)
    return found


def _files_of(images: Path, annotations: Path) -> _Files:
    """The images of one folder."""
    files, others = pictures_in(images)
    if others:
        raise DatasetError(f"{others[0]} is no {words_of(PHOTO_FORMATS)} file; convert it, or move it out of images/")
    if not files:
        raise DatasetError(f"{images} is empty; put PNG or JPEG images there")
    stems = [file.stem for file in files]
    return _Files(stems, files, *label_files_for(stems, annotations))


def _origins(names: Sequence[str], groups: re.Pattern[str] | None, file: Path) -> list[Origin] | None:
    """The group and place of each image, by the pattern in `file`, or else by sub-folder; None where it has none."""
    if groups is not None:
        try:
            return origins_by(groups, names)
        except ValueError as error:
            raise DatasetError(f'the "groups" of {file} cannot be used: {error}') from error
    folders = [name.rpartition("/")[0] for name in names]
    return in_natural_order(names, folders) if all(folders) else None


def _split_folder(root: Path, split: str, splits: Sequence[str]) -> str:
    """The folder of a split among those there: of its own name, or else of another name that means the same."""
    if split in splits or (not splits and split == "all"):
        return split
    same = [name for name in splits if composed(name) == composed(split)]
    found = same or [name for name in splits if name.lower() in (split, *ALIASES.get(split, ()))]
    if len(found) == 1:
        return found[0]
    advice = f"choose one of {', '.join(splits or ['all'])}"
    if found:
        advice = f"{' and '.join(found)} may both be meant, rename one of them to {split}"
    elif not splits and split in ALIASES:
        advice += ", or sort the files into images/train, images/val, labels/train and labels/val"
    elif split in ALIASES:
        advice += f", or name a folder of images/ and of labels/ {split}"
    raise DatasetError(f"{root} has no split {split!r}; {advice}")


def _refuse_files_beside(images: Path, kind: str, folders: Sequence[str]) -> None:
    for path in visible(images):
        if not path.is_dir():
            beside = f"{folders[0]} and {len(folders) - 1} more" if len(folders) > 1 else folders[0]
            raise DatasetError(
                f"{path} belongs to no {kind}; move it into one of the folders beside it ({beside}), or take these "
                f"away if they are no {kind}s"
            )


def read_classes(file: str | Path) -> LabelSet:
    """The label set that classes.json describes; DatasetError says what in it does not fit."""
    return _read_classes(Path(file)).label_set


class _Classes(NamedTuple):
    """What classes.json says. coding: the key of the labels' coding. groups: the pattern of names."""

    label_set: LabelSet
    coding: str | None
    groups: re.Pattern[str] | None


def _read_classes(file: Path) -> _Classes:
    if not os.path.lexists(file):
        raise DatasetError(f"{file} is missing, which lists the classes; it looks like {EXAMPLE}")
    text = read_text(file)
    try:
        content = read_json_object(text, "classes", list)
    except ValueError as error:
        raise DatasetError(f"{file} {error}; it looks like {EXAMPLE}") from error
    unknown = sorted(content.keys() - set(KEYS))
    if unknown:
        raise DatasetError(
            f'{file} has the unknown key "{one_line(unknown[0], 60)}"; known are {", ".join(KEYS[:-1])} and {KEYS[-1]}'
        )
    classes, ignore_index, name = content["classes"], content.get("ignore_index", 255), content.get("name", "folder")
    if not 1 <= len(classes) <= 255:
        raise DatasetError(f"{file} lists {len(classes)} classes; 1 to 255 are possible")
    if not is_byte(ignore_index) or ignore_index < len(classes):
        raise DatasetError(
            f"{file} has the ignore_index {shortened(ignore_index)}; it must be a whole number from {len(classes)} to "
            "255"
        )
    if not is_name(name):
        raise DatasetError(
            f"{file} has the name {shortened(name)}; it must be text of at most {MAX_NAME_LENGTH} characters"
        )
    for index, entry in enumerate(classes):
        _check_class(entry, f"class {index} of {file}")
    _refuse_twins(classes, file)
    names, colours = zip(*((entry["name"], tuple(entry["colour"])) for entry in classes), strict=True)
    label_set = LabelSet(name, names, colours, ignore_index)
    coding = content.get("coding")
    keys = [known.key for known in codings_of(label_set)]
    if coding is not None and coding not in keys:
        raise DatasetError(f"{file} has the coding {shortened(coding)}; choose one of {', '.join(keys)}")
    return _Classes(label_set, coding, _pattern(content.get("groups"), file))


def _pattern(text: object, file: Path) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return compile_groups(text)
    except ValueError as error:
        raise DatasetError(
            f'the "groups" of {file} are {shortened(text)}: {error}; it looks like {json.dumps(GROUPS_EXAMPLE)}'
        ) from error


def _refuse_twins(classes: Sequence[dict], file: Path) -> None:
    """Refuse two classes of one name or colour, which no label image could tell from one another."""
    by_name: dict[str, int] = {}
    by_colour: dict[tuple, str] = {}
    for index, entry in enumerate(classes):
        name, colour = entry["name"], tuple(entry["colour"])
        if name in by_name:
            raise DatasetError(f'{file} names two classes "{one_line(name, 60)}"; give each its own name')
        if colour in by_colour:
            raise DatasetError(
                f'{file} gives "{one_line(by_colour[colour], 60)}" and "{one_line(name, 60)}" the same colour '
                f"{list(colour)}; give each its own"
            )
        by_name[name], by_colour[colour] = index, name


def _check_class(entry, place: str) -> None:
    if not isinstance(entry, dict) or not is_name(entry.get("name")):
        raise DatasetError(
            f'{place} has no "name" (of at most {MAX_NAME_LENGTH} characters); it looks like {{"name": "leaf", '
            '"colour": [0, 160, 60]}'
        )
    colour = entry.get("colour")
    if not is_colour(colour):
        raise DatasetError(f'{place} has the "colour" {shortened(colour)}; it must be [red, green, blue], each 0 … 255')
