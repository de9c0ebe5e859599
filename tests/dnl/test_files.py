"""Files are written whole or not at all."""

import errno
import os

import pytest

from dnl.files import remove_leftovers, write_atomically
from dnl.untrusted import error_line


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail(path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_only_leftovers_are_removed(tmp_path):
    for name in ("state.pt", "notes.tmp", ".hidden", ".notes.tmp", ".dnl-x1.tmp"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "notes.tmp", ".hidden", ".notes.tmp"}


def test_a_folder_is_not_written_over(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_atomically(tmp_path, lambda file: file.write_text("new"))
    assert not list(tmp_path.parent.glob(".*.tmp"))


def test_a_folder_that_is_missing_is_named_rather_than_the_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        write_atomically(tmp_path / "none" / "file", lambda file: file.write_text("new"))
    assert error_line(missing.value) == f"{tmp_path / 'none'}: {os.strerror(errno.ENOENT)}"
