"""Attention files of any network for a report: found, read with their labels, and measured head by head."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from analysis.capture import SUFFIXES, CaptureFileError, Layers, quietly, read_capture_file, require_total
from analysis.files.photos import UploadError, read_labels_as_they_are
from analysis.measure import Head, ImageRecord, MeasureOptions, UnlabelledError, head_records
from analysis.report.measuring import ReportError
from analysis.report.records import SkippedImage
from dnl.datasets import Origin, in_natural_order, visible
from dnl.pictures import is_label_picture


class AttentionFile(NamedTuple):
    """A file, the name of its image in the report, and where it comes from.

    name: the file's own without its ending, or where that is not enough, its path below the folder that all are in.
    """

    path: Path
    name: str
    origin: Origin


@dataclass(frozen=True)
class Reading:
    """How attention files are read.

    label_folder: of label images named like the files, for those that hold no labels; where names of images are paths,
    these are those of the label images there. label_set: the name of a public
    one, or None for what a file says. coding: of the labels, None to recognise it. layers: patterns; None for all.
    """

    label_folder: Path | None = None
    label_set: str | None = None
    coding: str | None = None
    layers: Sequence[str] | None = None


class MeasuredFiles(NamedTuple):
    """records: of each head, one a file that could be measured. class_names: the same in all of these.

    hashes: file's path -> its SHA-256. notes: file's name -> what has to be known of its layers. skipped: files that
    were left out, as some layer has no labelled cell there.
    """

    records: dict[Head, list[ImageRecord]]
    class_names: tuple[str, ...]
    hashes: dict[Path, str]
    notes: dict[str, tuple[str, ...]]
    skipped: list[SkippedImage]


def found_files(paths: Sequence[Path]) -> list[AttentionFile]:
    """The files, those of folders among them. Files of several folders have these for groups.

    Raises ReportError for what is none, and for one that is named twice.
    """
    files: list[Path] = []
    for path in paths:
        inside = [file for file in visible(path) if file.suffix in SUFFIXES] if path.is_dir() else [path]
        if not inside:
            raise ReportError(f"{path} holds no {' or '.join(SUFFIXES)} file; save attention files there")
        files += inside
    for file in files:
        if file.suffix not in SUFFIXES:
            raise ReportError(f"{file} is no attention file; their names end in {' or '.join(SUFFIXES)}")
    if len({file.resolve() for file in files}) < len(files):
        raise ReportError("a file is named twice; name each attention file once")
    folders = [str(file.parent) for file in files]
    stems = [file.stem for file in files]
    names = stems if len(set(stems)) == len(stems) else _below_common_folder(files)
    origins = in_natural_order(stems, folders) if len(set(folders)) > 1 else [Origin()] * len(files)
    return [AttentionFile(*parts) for parts in zip(files, names, origins, strict=True)]


def _below_common_folder(files: Sequence[Path]) -> list[str]:
    """The files' paths below the innermost folder that holds all of them, with `/`."""
    paths = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def measured_files(
    files: Sequence[AttentionFile],
    reading: Reading,
    options: MeasureOptions,
    progress: Callable[..., Iterable] = lambda items: items,
) -> MeasuredFiles:
    """Every head of every file. progress: like tqdm.

    Raises ReportError, which names the file, for one without labels, and for files of other layers, heads or classes;
    and where there is no file that can be measured.
    """
    records: dict[Head, list[ImageRecord]] = {}
    class_names: tuple[str, ...] = ()
    hashes: dict[Path, str] = {}
    notes: dict[str, tuple[str, ...]] = {}
    skipped: list[SkippedImage] = []
    first = None
    for file in progress(files):
        data = _content(file.path)
        hashes[file.path] = hashlib.sha256(data).hexdigest()
        try:
            layers = _labelled(file, data, reading, options.labels)
            found = head_records(layers, options)
            names = _class_names(layers)
            notes[file.name] = layers.notes
        except UnlabelledError as error:
            skipped.append(SkippedImage(file.name, str(error), **file.origin._asdict()))
            continue
        except ValueError as error:
            raise ReportError(f"{file.path}: {str(error).rstrip('.')}") from error
        first = first or file
        _require_alike(file, first, found, records, names, class_names)
        class_names = names
        for head, record in found.items():
            own = dataclasses.replace(record, **file.origin._asdict())
            records.setdefault(head, []).append(own)
    if first is None:
        raise ReportError(
            f"none of the {len(files)} files can be measured, {skipped[0].name} the first ({skipped[0].reason}); give "
            "labels that reach these cells"
        )
    return MeasuredFiles(records, class_names, hashes, notes, skipped)


def notes_of_files(notes: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """What has to be known of files, each sentence once, with the files' names where it is not true of all.

    notes: of each file, its name and its sentences.
    """
    told = list(notes)
    files: dict[str, list[str]] = {}
    for name, sentences in told:
        for sentence in sentences:
            files.setdefault(sentence, []).append(name)
    return [sentence if len(own) == len(told) else f"{_first_of(own)}: {sentence}" for sentence, own in files.items()]


def _first_of(names: Sequence[str]) -> str:
    """The first name, and how many others there are."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ReportError(f"{path} is not there, or no file")
    require_total(path.stat().st_size)
    return path.read_bytes()


def _labelled(file: AttentionFile, data: bytes, reading: Reading, source: str) -> Layers:
    """The file's layers with labels, or as measured against the prediction, with the prediction.

    Raises ValueError in one sentence where it has none.
    """
    read = read_capture_file(data, file.name, coding=reading.coding, label_set=reading.label_set)
    layers = read.layers.described(name=file.name).chosen(reading.layers)
    known = layers.layers[0].options
    if source == "prediction":
        if known.get("prediction") is None:
            raise CaptureFileError("it holds no prediction; save one, or measure against labels")
        return layers
    if known.get("labels") is not None:
        return layers
    if reading.label_folder is None:
        raise CaptureFileError(
            "it holds no labels, and noise is measured against them; save it with labels, give a folder of label "
            "images with --label-folder, or take its prediction with --labels prediction"
        )
    return _with_label_image(layers, file, reading)


def _with_label_image(layers: Layers, file: AttentionFile, reading: Reading) -> Layers:
    assert reading.label_folder is not None
    folder = (reading.label_folder / file.name).parent
    first = layers.layers[0]
    label_set = quietly(first, first.heads[0]).label_set
    if label_set is None:
        raise CaptureFileError("nothing says what its classes are; name them in its metadata, or with --label-set")
    stem = file.path.stem
    there = visible(folder) if folder.is_dir() else []
    images = [image for image in there if image.stem == stem and is_label_picture(image.name)]
    if len(images) != 1:
        count = "no" if not images else len(images)
        raise CaptureFileError(f"{folder} has {count} label images called {stem}; it must be one")
    try:
        labels = read_labels_as_they_are(images[0].read_bytes(), label_set, coding=reading.coding)
    except UploadError as error:
        raise CaptureFileError(f"{images[0]}: {str(error).rstrip('.')}") from error
    return layers.described(labels=labels)


def _class_names(layers: Layers) -> tuple[str, ...]:
    first = layers.layers[0]
    label_set = quietly(first, first.heads[0]).label_set
    assert label_set is not None  # what is measured has labels
    return tuple(label_set.class_names)


def _require_alike(
    file: AttentionFile,
    first: AttentionFile,
    found: dict[Head, ImageRecord],
    records: dict[Head, list[ImageRecord]],
    names: tuple[str, ...],
    class_names: tuple[str, ...],
) -> None:
    """Raise ReportError where a file has other heads or classes than the first one."""
    if not records:
        return
    for has, lacks, heads in ((first, file, records.keys() - found), (file, first, found.keys() - records)):
        if heads:
            layer, number = min(heads)
            raise ReportError(
                f"{has.path} has head {number} of {layer or 'its layer'} and {lacks.path} has not; a report takes "
                "files of the same layers and heads, which --layers can choose"
            )
    if names != class_names:
        raise ReportError(
            f"{file.path} and {first.path} know different classes; name the same ones in their metadata, or with "
            "--label-set"
        )
