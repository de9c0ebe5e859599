"""What commands and pages say of an error that names anything."""

import errno
import os

import pytest

from dnl.untrusted import error_line, first_line, one_line, require_type


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


def test_a_decoder_s_error_is_told_by_its_first_line():
    assert first_line(ValueError("a broken header\nand a long explanation")) == "a broken header"
    assert first_line(ValueError("x" * 300)) == "x" * 200
    assert first_line(EOFError()) == "EOFError"
    assert first_line(OSError(errno.EACCES, os.strerror(errno.EACCES), "secret")) == os.strerror(errno.EACCES)


def test_types_of_a_stranger_s_settings():
    for value, kind in ((3, int), (3, float), (0.5, float), (True, bool), ("x", str)):
        require_type("field", value, kind)
    for value, kind in ((True, int), (True, float), (0.5, int), ("3", int), (None, str), (1, bool)):
        with pytest.raises(ValueError, match=f"field is {value!r}; it must be of type {kind.__name__}"):
            require_type("field", value, kind)
    for value in (float("nan"), float("inf"), 10**400):
        with pytest.raises(ValueError, match="it must be a finite number"):
            require_type("field", value, float)
