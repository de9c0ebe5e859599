"""Finding the files of a data set: folders, splits, pictures and their label files, and saying what is missing.

Names are the same however their letters are composed: macOS writes é as e and an accent, other systems as one letter.
"""

import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dnl.datasets.base import DatasetError
from dnl.pictures import LABEL_FORMATS, PHOTO_FORMATS, is_label_picture, is_other_picture, is_picture, words_of
from dnl.untrusted import is_valid_text, read_text_file

# What macOS leaves in archives, network drives and Windows in folders; in small letters, however they are written.
SYSTEM_NAMES = ("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini")


def require_text_name(file: Path) -> None:
    """Refuse a file whose name no report or table could hold."""
    if not is_valid_text(str(file)):
        raise DatasetError(f"the name {str(file)!a} holds bytes that are no text; rename the file or folder")


def read_text(file: Path) -> str:
    """A UTF-8 text file of a data set."""
    try:
        return read_text_file(file)
    except FileNotFoundError as error:
        raise DatasetError(f"{file} is missing or no file; put it there") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} could not be read as UTF-8 text ({error})") from error


def locate(root: str | Path, inner: Sequence[str], marker: str) -> Path:
    """`root` or the first of its `inner` folders that holds `marker`, so that either may be named."""
    candidates = [Path(root), *(Path(root) / folder for folder in inner)]
    for candidate in candidates:
        if os.path.isdir(candidate / marker):
            return candidate
    raise DatasetError(f"{str(root)[:200]} holds no {marker}/, nor does {inner[-1]}/ in it; name the folder that does")


def require_split(data_set: str, split: str, splits: Sequence[str]) -> None:
    """Refuse a split that the data set does not have."""
    if split not in splits:
        raise DatasetError(f"{data_set} has no split {split!r}; choose one of {', '.join(splits)}")


def require_folders(folders: Sequence[Path], layout: str) -> None:
    """Refuse a data set that lacks one of `folders`; `layout` says what it should hold."""
    for folder in folders:
        if not os.path.isdir(folder):  # False for names too long and loops of links, where Path.is_dir raises
            raise DatasetError(f"{str(folder)[:200]} is missing; {layout}")


class Listing(NamedTuple):
    """The files of a folder: its pictures in the order of names, and what is none."""

    pictures: list[Path]
    unused: list[Path]


def pictures_in(folder: Path) -> Listing:
    """The pictures of a folder, whatever the case of their endings. Raises DatasetError for one that cannot be read."""
    pictures, unused = [], []
    for file in visible(folder):
        if is_picture(file.name):
            pictures.append(file)
        elif is_other_picture(file.name):
            raise DatasetError(
                f"{file} is no picture that can be read here; convert it to {words_of(PHOTO_FORMATS)}, or take it away"
            )
        else:
            unused.append(file)
    return Listing(pictures, unused)


def named_pictures(names: Sequence[str], folder: Path, split: str) -> list[Path]:
    """The picture of each name in `folder`. Raises DatasetError where one is missing or has two."""
    found, _ = _by_stem(folder, is_picture)
    missing = [name for name in names if composed(name) not in found]
    if missing:
        raise DatasetError(f"{folder} lacks {len(missing)} images of the split {split}, {missing[0]}.jpg the first")
    return [folder / found[composed(name)] for name in names]


def label_files_for(
    stems: Sequence[str], folder: Path, suffixes: Sequence[str] = ("",)
) -> tuple[list[Path], list[Path]]:
    """The label file of each image in `folder`, and the files there that belong to none.

    A label file is named like its image, or with one of the `suffixes` behind that name, and ends as a label image in
    upper or lower case. Raises DatasetError where images lack theirs or one has two.
    """
    found, others = _by_stem(folder, is_label_picture)
    file_of: dict[str, str] = {}
    for suffix in suffixes:
        for stem in stems:
            name = found.pop(composed(stem + suffix), None)
            if name is not None and stem in file_of:
                raise DatasetError(
                    f"{folder / name} is the second label file of {stem}, after {file_of[stem]}; remove one of the two"
                )
            if name is not None:
                file_of[stem] = name
    _require_labels(stems, file_of, folder, others)
    unused = sorted([*found.values(), *others])
    return [folder / file_of[stem] for stem in stems], [folder / name for name in unused]


def label_files_below(places: Sequence[str], folder: Path, *, required: bool = True) -> list[Path | None]:
    """The label file of each place below `folder`, a path without its ending such as aachen/aachen_000000_000019.

    None where there is none, unless they are `required`: DatasetError then says so.
    """
    found: dict[str, str] = {}
    others: list[str] = []
    for inner in dict.fromkeys(place.rpartition("/")[0] for place in places):
        if not os.path.isdir(folder / inner):
            continue
        there, more = _by_stem(folder / inner, is_label_picture)
        lead = f"{inner}/" if inner else ""
        found |= {composed(lead) + stem: lead + name for stem, name in there.items()}
        others += [lead + name for name in more]
    file_of = {place: found[composed(place)] for place in places if composed(place) in found}
    if required:
        _require_labels(places, file_of, folder, others)
    return [folder / file_of[place] if place in file_of else None for place in places]


def _by_stem(folder: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, str], list[str]]:
    """The wanted files' names in `folder` by their stems, composed, and all others; DatasetError for two of a stem."""
    found: dict[str, str] = {}
    others = []
    for name in (file.name for file in visible(folder)):
        stem = composed(name.rpartition(".")[0])
        if not wanted(name):
            others.append(name)
        elif stem in found:
            raise DatasetError(f"{folder / name} and {found[stem]} are two files of one name; remove one of them")
        else:
            found[stem] = name
    return found, others


def _require_labels(places: Sequence[str], file_of: Mapping[str, str], folder: Path, others: Sequence[str]) -> None:
    missing = [place for place in places if place not in file_of]
    if missing:
        wanted = composed(missing[0])
        other = next((name for name in others if composed(name.rpartition(".")[0]) == wanted), None)
        formats = words_of(LABEL_FORMATS)
        hint = "" if other is None else f"; {other} there is no {formats} file, save the labels' own values as PNG"
        raise DatasetError(f"{folder} lacks labels for {len(missing)} images, {missing[0]}.png the first{hint}")


def visible(folder: Path) -> list[Path]:
    """What `folder` holds, in the order of names, without hidden files and folders and those of systems."""
    return [folder / name for name in sorted(os.listdir(folder)) if not _is_hidden(name)]


def folders_in(folder: Path) -> list[str]:
    """The names of the folders that `folder` holds, in order, without hidden ones and those of systems."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))


def folder_named(name: str, folder: Path) -> Path:
    """The folder of this name in `folder`, however its letters are composed there."""
    alike = [other for other in folders_in(folder) if composed(other) == composed(name)]
    return folder / (name if name in alike or not alike else alike[0])


def composed(name: str) -> str:
    """A name with each letter and its accents as one character, by which names are compared."""
    return unicodedata.normalize("NFC", name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or leads to one; a loop of links is none."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))
