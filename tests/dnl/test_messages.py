"""What commands and pages say of an error that names anything."""

import errno
import os

import pytest

from dnl.files import write_atomically
from dnl.untrusted import error_line, one_line


def test_a_message_is_one_line_of_its_beginning_and_end():
    assert one_line("a key\n'b\r\n c'") == "a key 'b c'"
    assert one_line("0123456789", longest=10) == "0123456789"
    assert one_line("0123456789X", longest=10) == "01234 … 6789X"


def test_an_error_of_the_system_is_told_by_file_and_reason(tmp_path):
    with pytest.raises(OSError) as missing:
        (tmp_path / "none").read_bytes()
    assert error_line(missing.value) == f"{tmp_path / 'none'}: {os.strerror(errno.ENOENT)}"
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError) as renamed:
        os.replace(tmp_path / "file", tmp_path / "folder")
    assert error_line(renamed.value).startswith(f"{tmp_path / 'folder'}: ")
    assert error_line(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == os.strerror(errno.ENOSPC)
    assert error_line(OSError("no number")) == error_line(ValueError("no number")) == "no number"
    assert error_line(OSError(errno.ENAMETOOLONG, "too long", "x" * 5000)).endswith("xxx: too long")


def test_a_folder_is_not_written_over(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_atomically(tmp_path, lambda file: file.write_text("new"))
    assert not list(tmp_path.parent.glob(".*.tmp"))


def test_a_folder_that_is_missing_is_named_rather_than_the_temporary_file(tmp_path):
    with pytest.raises(FileNotFoundError) as missing:
        write_atomically(tmp_path / "none" / "file", lambda file: file.write_text("new"))
    assert error_line(missing.value) == f"{tmp_path / 'none'}: {os.strerror(errno.ENOENT)}"
