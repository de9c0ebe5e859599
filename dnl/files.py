"""Writing files so that a crash or a full disk never leaves half of one."""

import errno
import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

# Of this package. It stands in the files that say what they were made with; here every floor may take it.
VERSION = "0.1.0"

# Of temporary files and folders: names that nobody else gives, and short ones, whatever the file is to be called.
TEMPORARY, TEMPORARY_END = ".dnl-", ".tmp"


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it over `path`.

    Readers see the old file or the whole new one. On an error the temporary file is removed and `path` untouched. A
    link stays, and the file that it leads to is replaced; a file's permissions stay, and a new one has the usual ones.
    What is no regular file, such as a pipe or /dev/stdout, is written into. Raises OSError, such as IsADirectoryError
    where `path` is a folder, and FileNotFoundError, of the folder that it is to be in, where that is missing.
    """
    mode = _mode(Path(path))
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if mode is not None and not stat.S_ISREG(mode):
        write(Path(path))
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{TEMPORARY_END}")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:  # it is about a hidden file that nobody asked for
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(stat.S_IMODE(mode))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int | None:
    """The type and permissions of what is at `path`, a link's target; None where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove_leftovers(folder: str | Path) -> None:
    """Remove the temporary files that a killed `write_atomically` has left in `folder`. Nobody may be writing there."""
    for path in Path(folder).glob(f"{TEMPORARY}*{TEMPORARY_END}"):
        path.unlink(missing_ok=True)


def write_json(path: str | Path, content: object) -> None:
    """Write `content` as indented UTF-8 JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
