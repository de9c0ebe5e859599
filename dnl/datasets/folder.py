"""Your own images: a folder of images, a folder of label files, and a list of classes.

    ROOT/images/*.png|jpg    ROOT/labels/*.png    ROOT/classes.json                             one split, "all"
    ROOT/images/train/…      ROOT/labels/train/…  ROOT/images/val/…  ROOT/labels/val/…  …       one split per folder

Label files are grey or palette PNG files named like their images; they hold class indices. classes.json says what these
mean:

    {"classes": [{"name": "leaf", "colour": [0, 160, 60]}, {"name": "soil", "colour": [120, 80, 40]}],
     "ignore_index": 255, "name": "my plants"}

Without "ignore_index" it is 255, without "name" the label set is called "folder".
"""

from pathlib import Path

from dnl.classes import LabelSet
from dnl.datasets.base import DatasetError
from dnl.datasets.pairs import (
    FORMATS,
    LabelledFiles,
    LabelValues,
    read_text,
    require_folders,
    require_labels,
    require_split,
    visible,
)
from dnl.untrusted import MAX_NAME_LENGTH, is_byte, is_colour, is_name, one_line, read_json_object, shortened

EXAMPLE = '{"classes": [{"name": "leaf", "colour": [0, 160, 60]}, …], "ignore_index": 255}'


class Folder(LabelledFiles):
    """A sequence of Samples in the order of file names.

    Raises DatasetError when a folder, a label file or classes.json is missing or does not fit, and on reading a sample
    whose files do not fit.
    """

    def __init__(self, root: str | Path, split: str = "all"):
        root = Path(root)
        images, annotations = root / "images", root / "labels"
        require_folders([images, annotations], "the data set holds images/, labels/ and classes.json")
        splits = [folder.name for folder in visible(images) if folder.is_dir()]
        require_split(str(root), split, splits or ["all"])
        if splits:
            _refuse_files_beside_splits(images)
            images, annotations = images / split, annotations / split
            require_folders([annotations], f"labels/ holds the same folders as images/, {split}/ among them")
        files = visible(images)
        if not files:
            raise DatasetError(f"{images} is empty; put PNG or JPEG images there")
        for file in files:
            if file.suffix.lower() not in FORMATS or not file.is_file():
                raise DatasetError(f"{file} is no PNG or JPEG file; convert it, or move it out of images/")
        label_files = [annotations / f"{file.stem}.png" for file in files]
        require_labels(label_files, annotations)
        label_set = read_classes(root / "classes.json")
        super().__init__(label_set, _label_values(label_set), [file.stem for file in files], files, label_files)


def _refuse_files_beside_splits(images: Path) -> None:
    for path in visible(images):
        if not path.is_dir():
            raise DatasetError(f"{path} belongs to no split; move it into one of the folders beside it")


def _label_values(label_set: LabelSet) -> LabelValues:
    last, ignored = label_set.num_classes - 1, label_set.ignore_index
    return LabelValues(
        {value: value for value in (*range(label_set.num_classes), ignored)},
        f"its classes.json gives 0 … {last}, and {ignored} for ignored pixels",
    )


def read_classes(file: str | Path) -> LabelSet:
    """The label set that classes.json describes; DatasetError says what in it does not fit."""
    file = Path(file)
    text = read_text(file)
    try:
        content = read_json_object(text, "classes", list)
    except ValueError as error:
        raise DatasetError(f"{file} {error}; it looks like {EXAMPLE}") from error
    unknown = sorted(content.keys() - {"classes", "ignore_index", "name"})
    if unknown:
        raise DatasetError(
            f'{file} has the unknown key "{one_line(unknown[0], 60)}"; known are classes, ignore_index and name'
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
    names = tuple(entry["name"] for entry in classes)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f'{file} names two classes "{twice[0]}"; give each its own name')
    return LabelSet(name, names, tuple(tuple(entry["colour"]) for entry in classes), ignore_index)


def _check_class(entry, place: str) -> None:
    if not isinstance(entry, dict) or not is_name(entry.get("name")):
        raise DatasetError(
            f'{place} has no "name" (of at most {MAX_NAME_LENGTH} characters); it looks like {{"name": "leaf", '
            '"colour": [0, 160, 60]}'
        )
    colour = entry.get("colour")
    if not is_colour(colour):
        raise DatasetError(f'{place} has the "colour" {shortened(colour)}; it must be [red, green, blue], each 0 … 255')
