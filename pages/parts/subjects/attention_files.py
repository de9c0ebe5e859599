"""Attention files that a user brings: uploaded, read once, and what is said of their labels in place of the file."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.capture import NUMBERED, PUBLIC_SETS, CaptureFile, CaptureFileError, Layers, read_capture_file
from pages.parts.app.uploaders import kept_file, kept_files, kept_upload, kept_uploads
from pages.parts.app.words import literal
from pages.parts.subjects.pictures import choose_reading

FORMAT = """
A `.npz` or `.safetensors` file with `query` and `key` (cells × channels, or heads × cells × channels), `height` and
`width`. It may also hold `scale` (1/√d in transformers), `class_tokens` (leading tokens that are no cells),
`class_probs` (for GR's gates), `image`, `labels` and `prediction`; or a finished map `attention` (cells × cells) in
place of query and key. Several layers have their name before the array's: `blocks.3/query`.

`metadata`, a JSON text, may name the classes of the labels: `label_set` alone for those of a public data set (camvid,
cityscapes, voc, ade20k), else `class_names` and, if it is not 255, `ignore_index`, the label that means none. What it
does not say can be said here, under **Classes of the labels**. With NumPy:

    numpy.savez("attention.npz", query=query, key=key,
                height=14, width=14, scale=64**-0.5, class_tokens=1,
                image=image, labels=labels,
                metadata='{"label_set": "camvid"}')

What `analysis.watch` saw of a network is written by `watched.save("attention.npz", image=image)`. A file may have 64 MB
here: all 144 heads of a ViT-B at 224×224 have 15. Of a larger one watch fewer layers or heads, or save `float16`.
"""
TYPES = ["npz", "safetensors"]
HELP = "Up to 64 MB: of a larger one watch fewer layers. It stays in your session, and no model is run."
# The session's entries of the uploaders: one file, shared by all pages, and several.
ONE, SEVERAL = "attention file", "attention files"
MOST_SEVERAL = 50
# What is chosen of the classes: what the file says, or names, or a public set.
AS_SAID, OWN_NAMES = "what the file says", "names of my own"
CHOICES = (AS_SAID, *PUBLIC_SETS, OWN_NAMES, NUMBERED)
CHOICE_WORDS = {NUMBERED: "as numbered, every value a class", **{name: f"those of {name}" for name in PUBLIC_SETS}}
LARGEST_LABEL = 65535


@dataclass(frozen=True)
class Said:
    """What a user says of the labels in place of a file, as `read_capture_file` takes it."""

    coding: str | None = None
    label_set: str | None = None
    class_names: tuple[str, ...] | None = None
    ignore_index: int | None = None


@dataclass(frozen=True)
class OwnFile:
    """An attention file of the user's: its name with its ending, its content, and what is said of its labels."""

    name: str
    content: bytes = field(repr=False)
    said: Said = Said()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> tuple[str, str, Said]:
        """Tells the file, read as is said, from all others."""
        return self.digest, self.name, self.said

    @property
    def layers(self) -> Layers:
        """All that the file holds. Raises CaptureFileError."""
        return _opened(self.digest, PurePath(self.name).stem, self.said, self.content).layers


# Nothing changes what is read, so that it need not be copied for every run of a page.
@st.cache_resource(max_entries=4, scope="session", show_spinner="Reading the file …")
def _opened(digest: str, name: str, said: Said, _data: bytes) -> CaptureFile:
    return read_capture_file(_data, name, **dataclasses.asdict(said))


def own_attention_files() -> list[OwnFile]:
    """All attention files that the session keeps, each name once: the one, and the several."""
    one = kept_file(ONE)
    found = {one[0]: OwnFile(*one)} if one else {}
    found = {name: dataclasses.replace(file, said=said_of(file.digest)) for name, file in found.items()}
    several = {name: OwnFile(name, content, said_of(SEVERAL)) for name, content in kept_files(SEVERAL)}
    return list((several | found).values())


def choose_file(notices: DeltaGenerator) -> OwnFile | None:
    """An uploader of one file, and the file; None without one. The page ends here, with words in `notices`, where it
    cannot be read."""
    kept = kept_upload("Attention file", TYPES, key=ONE, help=HELP)
    show_format()
    if kept is None:
        return None
    try:
        file = OwnFile(*kept)
        file = dataclasses.replace(file, said=choose_said(file, file.digest))
        file.layers  # noqa: B018  raises for one that cannot be read
        return file
    except CaptureFileError as error:
        notices.error(literal(str(error)))
        st.stop()


def choose_files() -> list[OwnFile]:
    """An uploader of several files, one an image, with one choice of their classes. They are not read yet, but for the
    first, which may raise CaptureFileError."""
    kept = kept_uploads("Attention files", TYPES, key=SEVERAL, most=MOST_SEVERAL, help=f"One an image. {HELP}")
    show_format()
    if not kept:
        return []
    said = choose_said(OwnFile(*kept[0]), SEVERAL)
    return [OwnFile(name, content, said) for name, content in kept]


def show_format() -> None:
    """A pop-over of what a file holds."""
    with st.popover("What such a file holds"):
        st.markdown(FORMAT)


# --- what is said of the labels --------------------------------------------------------------------------------------


def said_of(of: str) -> Said:
    """What is said of the labels of a file, by its digest, or of SEVERAL; nothing unless it was chosen."""
    return st.session_state.get(f"attention said {of}", Said())


def choose_said(file: OwnFile, of: str) -> Said:
    """Widgets of what is said of the labels of a file that has any, and it; kept for `said_of`.

    of: its digest, or SEVERAL. Raises CaptureFileError where the file cannot be read, and where nobody has chosen among
    several readings yet.
    """
    said = _choose_coding(file, _choose_classes(file, of[:16]), of[:16])
    st.session_state[f"attention said {of}"] = said
    return said


def _choose_classes(file: OwnFile, entry: str) -> Said:
    asked: CaptureFileError | None = None
    try:
        known = file.layers.layers[0].options
        if all(known.get(part) is None for part in ("labels", "prediction")):
            return Said()
    except CaptureFileError as error:
        asked = error if error.label_sets else None
    key = f"attention classes {entry}"
    if asked is None:
        with st.expander("Classes of the labels", expanded=st.session_state.get(key, AS_SAID) != AS_SAID):
            return _said_classes(_choose_set(CHOICES, key, 0), entry)
    chosen = _choose_set((*asked.label_sets, OWN_NAMES), key, None)
    if chosen is None:
        raise asked
    return _said_classes(chosen, entry)


def _choose_set(options: tuple[str, ...], key: str, index: int | None) -> str | None:
    return st.selectbox(
        "Classes of the labels",
        options,
        index=index,
        placeholder="choose",
        format_func=lambda name: CHOICE_WORDS.get(name, name),
        key=key,
        persist_state="session",
        help="Names in the file count where nothing else is chosen.",
    )


def _said_classes(chosen: str | None, entry: str) -> Said:
    if chosen in (None, AS_SAID):
        return Said()
    if chosen != OWN_NAMES:
        return Said(label_set=chosen)
    text = st.text_area(
        "Class names, one a line", key=f"attention names {entry}", persist_state="session", placeholder="sky\nroad"
    )
    ignored = st.number_input(
        "Label that means no class", 0, LARGEST_LABEL, 255, key=f"attention ignored {entry}", persist_state="session"
    )
    return Said(class_names=tuple(line.strip() for line in text.strip().splitlines()), ignore_index=int(ignored))


def _choose_coding(file: OwnFile, said: Said, entry: str) -> Said:
    """With the coding that was chosen for the labels, where they fit several."""
    read: CaptureFile | None = None
    try:
        read = _opened(file.digest, PurePath(file.name).stem, said, file.content)
        if read.coding is None or len(read.choices) < 2:
            return said
        choices = {coding.key: coding.words for coding in (read.coding, *read.choices)}
    except CaptureFileError as error:
        question, choices = error, {coding.key: coding.words for coding in error.choices}
        if not choices:
            raise
    chosen = choose_reading(choices, f"attention coding {entry}", recognised=read is not None)
    if chosen is None:
        if read is None:
            raise question
        return said
    return dataclasses.replace(said, coding=chosen)
