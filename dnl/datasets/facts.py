"""What single files of a data set hold, remembered from one look to the next as long as they do not change."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from dnl.codings import KINDS, Content, content_of
from dnl.datasets.base import DatasetError
from dnl.datasets.pairs import read_label_file, unreadable
from dnl.files import write_atomically
from dnl.pictures import LABEL_FORMATS, PHOTO_FORMATS, Header, PictureError, read_header

FORMAT = 3  # of what is remembered; anything else is forgotten
MOST_BYTES = 2**27
THREADS = 4  # pictures are decoded beside Python

T = TypeVar("T")
Progress = Callable[..., Any]  # like tqdm


class Facts:
    """What the files of one folder hold, each looked at once: in place of what an unreadable file holds its error.

    folder: where the facts are remembered, None to remember nothing; about: what they are of. A memory that cannot be
    read or written is no error.
    """

    def __init__(self, folder: Path | None, about: Path):
        digest = hashlib.sha256(os.fsencode(os.path.abspath(about))).hexdigest()
        self._file = None if folder is None else folder / f"{digest[:24]}.json"
        self._kept = _read(self._file)
        self._new = False

    def image_headers(self, files: Sequence[Path], progress: Progress) -> dict[Path, Header | DatasetError]:
        """The headers of photos."""
        return self._each("images", files, _photo_header, list, _header_of, progress)

    def label_headers(self, files: Sequence[Path], progress: Progress) -> dict[Path, Header | DatasetError]:
        """The headers of label files."""
        return self._each("labels", files, _label_header, list, _header_of, progress)

    def contents(self, files: Sequence[Path], progress: Progress) -> dict[Path, Content | DatasetError]:
        """What label files hold, for which they are decoded."""
        return self._each("contents", files, _content, _packed_content, _content_of, progress)

    def write(self) -> None:
        """Remember what has been looked at."""
        if self._file is None or not self._new:
            return
        text = json.dumps({"format": FORMAT, **self._kept}, separators=(",", ":"))
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, lambda path: path.write_text(text, encoding="utf-8"))
        except OSError:
            pass  # the next look takes as long as this one

    def _each(
        self,
        section: str,
        files: Sequence[Path],
        look: Callable[[Path], T | DatasetError],
        pack: Callable[[T], list],
        unpack: Callable[[list], T],
        progress: Progress,
    ) -> dict[Path, T | DatasetError]:
        kept = self._kept.setdefault(section, {})
        stamps = {file: _stamp(file) for file in files}
        found: dict[Path, T | DatasetError] = {}
        for file in files:
            entry = kept.get(os.path.abspath(file))
            if entry is not None and entry[0] == stamps[file]:
                found[file] = unpack(entry[1])
        left = [file for file in files if file not in found]
        if not left:
            return found
        with ThreadPoolExecutor(THREADS) as pool:
            for file, fact in progress(zip(left, pool.map(look, left), strict=True), total=len(left), desc=section):
                found[file] = fact
                if not isinstance(fact, DatasetError) and stamps[file] is not None:
                    kept[os.path.abspath(file)] = [stamps[file], pack(fact)]
                    self._new = True
        return {file: found[file] for file in files}


def cache_folder() -> Path:
    """Where looks are remembered: in the user's folder of caches."""
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return Path(root) / "denoised-nl" / "looks"


def _read(file: Path | None) -> dict[str, dict[str, list]]:
    """What is remembered; nothing where that cannot be read or is not as this module wrote it."""
    try:
        if file is None or file.stat().st_size > MOST_BYTES:
            return {}
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept.pop("format") != FORMAT:
            return {}
        for fact in (*kept.get("images", {}).values(), *kept.get("labels", {}).values()):
            _header_of(fact[1])
        for fact in kept.get("contents", {}).values():
            _content_of(fact[1])
        return kept
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def _stamp(file: Path) -> list[int] | None:
    """What changes with a file's content; None where there is no file.

    Copies and archives give a file the time of another one, but not that of its last change of any kind (of its making,
    on Windows), nor its number.
    """
    try:
        stat = file.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _photo_header(file: Path) -> Header | DatasetError:
    return _header(file, PHOTO_FORMATS)


def _label_header(file: Path) -> Header | DatasetError:
    return _header(file, LABEL_FORMATS)


def _header(file: Path, formats: tuple[str, ...]) -> Header | DatasetError:
    try:
        return read_header(file, formats)
    except (PictureError, OSError) as error:
        return unreadable(file, error)


def _content(file: Path) -> Content | DatasetError:
    try:
        return content_of(read_label_file(file))
    except DatasetError as error:
        return error
    except ValueError as error:
        return DatasetError(f"{file} is no label image: {error}")


def _header_of(packed: list) -> Header:
    kind, mode, bits, (height, width), orientation = packed
    return Header(str(kind), str(mode), int(bits), (int(height), int(width)), int(orientation))


def _packed_content(content: Content) -> list:
    counts, shown = list(content.counts.items()), list(content.shown.items())
    return [content.kind, content.size, counts, shown, content.ramps, content.borders]


def _content_of(packed: list) -> Content:
    kind, (height, width), counts, shown, ramps, borders = packed
    return Content(KINDS[KINDS.index(kind)], (height, width), _pairs(counts), _pairs(shown), int(ramps), int(borders))


def _pairs(items: Iterable) -> dict[int, int]:
    return {int(key): int(value) for key, value in items}
