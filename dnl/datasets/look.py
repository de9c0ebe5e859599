"""One look at a split before anything starts: what is in its files, and what cannot be meant.

Headers of all files are read, and the pixels of all label files, or of evenly spread ones where they are so many that
this would take minutes. What is found is remembered, so that a second look takes no longer than listing the files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnl.classes import LabelSet
from dnl.codings import CodingError, CodingQuestion, Content, Reading, class_pixels, looks_blended, misfit, together
from dnl.datasets.base import Cached, DatasetError
from dnl.datasets.facts import Facts, Progress, cache_folder
from dnl.datasets.pairs import LabelledFiles, read_image, read_label_file, require_size
from dnl.pictures import Header, turned_apart

# Of all label files that are decoded for one look: about half a minute.
MOST_LABEL_PIXELS = 2 * 10**9
SHOWN_NAMES = 3
MOST_SIZES = 8  # files that are decoded to make sure
BYTES_A_PIXEL = 4  # of a sample in memory: red, green, blue and the label


@dataclass(frozen=True)
class Finding:
    """One thing about a split: a sentence, the file that shows it, and whether it keeps the split from being used."""

    sentence: str
    file: Path | None = None
    stops: bool = False


@dataclass(frozen=True)
class Look:
    """What a split holds.

    images: how many. labels, decoded: its label files, and those whose pixels were read. read_as: the coding of the
    labels in words, "" without labels. class_pixels: of each class, in the decoded files; ignored_pixels: without one.
    pixels: of all images together; largest: height and width of the one with most. findings: those that stop first.
    """

    images: int
    labels: int = 0
    decoded: int = 0
    read_as: str = ""
    class_pixels: tuple[int, ...] = ()
    ignored_pixels: int = 0
    pixels: int = 0
    largest: tuple[int, int] = (0, 0)
    findings: tuple[Finding, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the pixels of every label file were read."""
        return self.decoded == self.labels

    @property
    def bytes_in_memory(self) -> int:
        """What all samples take when they are kept in memory."""
        return BYTES_A_PIXEL * self.pixels

    @property
    def sentences(self) -> tuple[str, ...]:
        """All findings in words, and how the labels are read: where files alone cannot tell, a look at it can."""
        reading = (f"the labels are read as {self.read_as}",) if self.read_as else ()
        return (*(finding.sentence for finding in self.findings), *reading)

    def require(self) -> "Look":
        """This look. Raises DatasetError where something keeps the split from being used."""
        for finding in self.findings:
            if finding.stops:
                raise DatasetError(finding.sentence)
        return self


def look_at(
    dataset,
    *,
    progress: Progress = lambda items, **_: items,
    cache: Path | None = None,
    remember: bool = True,
) -> Look:
    """Look at a data set's files; a drawn one has none, and nothing is found.

    The data set reads its labels by what was found from then on. progress: like tqdm, around the files. cache: the
    folder for what is to be remembered (the user's caches); `remember` False looks anew and leaves no trace. Never
    raises for what is wrong with the files: that is among the findings.
    """
    files = dataset.dataset if isinstance(dataset, Cached) else dataset
    if not isinstance(files, LabelledFiles):
        return Look(len(files))
    pairs = {label: image for image, label in zip(files.files, files.label_files, strict=True) if label is not None}
    facts = Facts((cache or cache_folder()) if remember else None, files.files[0].parent)
    images = facts.image_headers(files.files, progress)
    headers = facts.label_headers(list(pairs), progress)
    contents = facts.contents(_to_decode(headers), progress)
    facts.write()

    findings = [*_unreadable(images), *_unreadable(headers), *_unreadable(contents)]
    findings += [*_sizes(pairs, images, headers), *_turned(pairs, images, headers)]
    read = {file: content for file, content in contents.items() if isinstance(content, Content)}
    reading, more = _reading(files, read)
    files.reading = reading or files.reading
    findings += [*more, *_notes(files, images, headers, contents, read)]
    classes, ignored = _class_pixels(files.label_set, read, reading)
    if reading is not None and pairs and not any(classes):
        findings.append(_without_labels(files, complete=len(contents) == len(pairs)))
    sizes = [header.size for header in images.values() if isinstance(header, Header)]
    return Look(
        images=len(files),
        labels=len(pairs),
        decoded=len(contents),
        read_as="" if reading is None else reading.words,
        class_pixels=classes,
        ignored_pixels=ignored,
        pixels=sum(height * width for height, width in sizes),
        largest=max(sizes, key=lambda size: size[0] * size[1], default=(0, 0)),
        findings=tuple(sorted(findings, key=lambda finding: not finding.stops)),
    )


def look_at_splits(training: Look, validation: Look, label_set: LabelSet) -> tuple[Finding, ...]:
    """What is to be said of two splits together: codings that differ, and classes that the second alone has."""
    findings = []
    if training.read_as and validation.read_as and training.read_as != validation.read_as:
        findings.append(
            Finding(f"train is read as {training.read_as}, val as {validation.read_as}: see that both mean the same")
        )
    if training.complete and training.class_pixels:
        pairs = zip(label_set.class_names, training.class_pixels, validation.class_pixels, strict=True)
        missing = [name for name, here, there in pairs if there and not here]
        if missing:
            findings.append(Finding(f"val has {_listed(missing)}, of which train has no pixel"))
    return tuple(findings)


def _to_decode(headers: Mapping[Path, Header | DatasetError]) -> list[Path]:
    """All label files, or evenly spread ones of MOST_LABEL_PIXELS together."""
    sizes = {file: header.size for file, header in headers.items() if isinstance(header, Header)}
    pixels = sum(height * width for height, width in sizes.values())
    step = max(1, -(-pixels // MOST_LABEL_PIXELS))
    return list(sizes)[::step]


def _unreadable(facts: Mapping[Path, object]) -> list[Finding]:
    """The first file that cannot be read, and how many more there are."""
    errors = [(file, error) for file, error in facts.items() if isinstance(error, DatasetError)]
    if not errors:
        return []
    file, error = errors[0]
    return [Finding(f"{error}{_and_more(len(errors) - 1)}", file, stops=True)]


def _sizes(
    pairs: Mapping[Path, Path],
    images: Mapping[Path, Header | DatasetError],
    headers: Mapping[Path, Header | DatasetError],
) -> list[Finding]:
    """Label files of another size than their images."""
    differing = []
    for file, image in pairs.items():
        label_header, image_header = headers[file], images[image]
        if not isinstance(label_header, Header) or not isinstance(image_header, Header):
            continue
        if label_header.size != image_header.size:
            differing.append(file)
    for file in differing[:MOST_SIZES]:  # a header may leave out that its picture is turned
        try:
            require_size(file, read_label_file(file).pixels.shape[:2], read_image(pairs[file]).shape[:2])
        except DatasetError as error:
            return [Finding(f"{error}{_and_more(len(differing) - 1)}", file, stops=True)]
    return []


def _turned(
    pairs: Mapping[Path, Path],
    images: Mapping[Path, Header | DatasetError],
    headers: Mapping[Path, Header | DatasetError],
) -> list[Finding]:
    """Images that are turned by their EXIF otherwise than their label files, where no size tells what is right."""
    differing = []
    for file, image in pairs.items():
        label, photo = headers[file], images[image]
        if isinstance(label, Header) and isinstance(photo, Header) and turned_apart(photo, label):
            differing.append((file, f"{image} is read {photo.way}, its label file {label.way}"))
    if not differing:
        return []
    file, words = differing[0]
    advice = "see that the labels lie on the image, and save both upright where they do not"
    return [Finding(f"{words}{_and_more(len(differing) - 1)}: {advice}", file)]


def _reading(files: LabelledFiles, contents: Mapping[Path, Content]) -> tuple[Reading | None, list[Finding]]:
    """How the labels are read, and the files that do not fit."""
    first = next(iter(contents), None)
    try:
        reading = files.reading_of(contents)
    except CodingQuestion as error:
        return None, [Finding(f"the label files in {files.label_folder()} hold {error}", first, stops=True)]
    except DatasetError as error:
        return None, [Finding(str(error), next(iter(files.misfits_among(contents)), first), stops=True)]
    found = _misfits(files, contents, reading)
    if not found:
        return reading, []
    file = next(file for file in contents if file in found)
    return reading, [Finding(f"{files.misfit(file, found[file])}{_and_more(len(found) - 1)}", file, stops=True)]


def _misfits(files: LabelledFiles, contents: Mapping[Path, Content], reading: Reading) -> dict[Path, CodingError]:
    """The label files that do not fit the reading; it has no coding for a kind of which no file means anything."""
    others = {file: content for file, content in contents.items() if content.kind not in reading.coding_of}
    errors = {file: misfit(content, reading) for file, content in contents.items() if file not in others}
    return files.misfits_among(others) | {file: error for file, error in errors.items() if error is not None}


def _class_pixels(
    label_set: LabelSet, contents: Mapping[Path, Content], reading: Reading | None
) -> tuple[tuple[int, ...], int]:
    """Pixels of each class, and without one, in label files that fit the reading."""
    if reading is None:
        return (0,) * label_set.num_classes, 0
    of_kind = {kind: part for kind, part in together(contents.values()).of_kind.items() if kind in reading.coding_of}
    counts = class_pixels(of_kind, reading)
    classes = tuple(counts.get(index, 0) for index in range(label_set.num_classes))
    return classes, counts.get(label_set.ignore_index, 0)


def _without_labels(files: LabelledFiles, *, complete: bool) -> Finding:
    where = "" if complete else " that were looked at"
    return Finding(
        f"no pixel of the label files in {files.label_folder()}{where} has a class: all are ignored, check the labels",
        stops=True,
    )


def _notes(
    files: LabelledFiles,
    images: Mapping[Path, Header | DatasetError],
    headers: Mapping[Path, Header | DatasetError],
    contents: Mapping[Path, Content | DatasetError],
    read: Mapping[Path, Content],
) -> Iterable[Finding]:
    """What looks wrong, and what is left out."""
    blended = [file for file, content in read.items() if looks_blended(content)]
    if blended:
        yield Finding(
            f"{blended[0]} seems to have been resized smoothly, so that other classes' values lie along its borders"
            f"{_and_more(len(blended) - 1)}: resize labels by nearest neighbour",
            blended[0],
        )
    deep = [file for file, header in images.items() if isinstance(header, Header) and header.bits > 8]
    if deep:
        yield Finding(
            f"{deep[0]} has 16 bits per channel, of which the upper 8 are used{_and_more(len(deep) - 1)}", deep[0]
        )
    if files.unused:
        names = _listed([file.name for file in files.unused])
        yield Finding(f"{len(files.unused)} files in {files.unused[0].parent} are not used: {names}", files.unused[0])
    if len(contents) < len(headers):
        yield Finding(f"the pixels of {len(contents)} of the {len(headers)} label files were looked at")


def _and_more(count: int) -> str:
    return f" (so {'has' if count == 1 else 'have'} {count} more)" if count else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"
