"""Files are written whole or not at all."""

import errno
import os
import threading
from pathlib import Path

import pytest

from dnl.files import remove_leftovers, write_atomically, write_json
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


posix = pytest.mark.skipif(os.name != "posix", reason="Windows has other permissions, links and pipes")


@posix
def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target.json", tmp_path / "link.json"
    link.symlink_to(Path("there") / "target.json")
    for content in ("new", "newer"):  # at first the link leads nowhere
        write_atomically(link, lambda file, content=content: file.write_text(content))
        assert link.is_symlink() and target.read_text() == content
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link.json", "target.json", "there"]


@posix
def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_json(pipe, {"miou": 0.5})
    reader.join(5)
    assert read == ['{\n  "miou": 0.5\n}\n'] and pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


@posix
def test_permissions_stay_and_are_the_usual_ones_of_a_new_file(tmp_path):
    def mode(name):
        write_atomically(tmp_path / name, lambda file: file.write_text("text"))
        return (tmp_path / name).stat().st_mode & 0o7777

    (tmp_path / "own").touch()
    for kept in (0o600, 0o664, 0o640):
        (tmp_path / "own").chmod(kept)
        assert mode("own") == kept
    usual = os.umask(0o027)
    try:
        assert mode("new") == 0o640
    finally:
        os.umask(usual)


def test_a_name_may_be_as_long_as_names_can_be(tmp_path):
    path = tmp_path / f"{'é' * 125}.json"  # 255 bytes
    write_json(path, [])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    with pytest.raises(OSError) as too_long:
        write_json(tmp_path / f"{'é' * 126}.json", [])
    assert too_long.value.errno == errno.ENAMETOOLONG and "é.json" in error_line(too_long.value)
