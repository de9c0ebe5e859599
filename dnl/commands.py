"""How a command begins and ends: its memory; its exit status, and what went wrong in one line on the standard error."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from dnl.untrusted import error_line

# Where Linux says whom it gives pages of 2 MiB: all, who asks for them, or nobody.
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Pages of 2 MiB; and memory that was given back is kept for the next update, in which as much is needed again.
ASKING = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184"


def ask_for_huge_pages(setting: Path = HUGE_PAGES) -> None:
    """Start this process anew, with a C library that asks for huge pages, where Linux gives them to those who ask.

    A training's numbers come and go by the megabyte, and each small page of theirs is cleared and looked up anew. Only
    at the start of a process can glibc be told, so this is for programs, never for functions that others call. Does
    nothing where GLIBC_TUNABLES already decides it.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" not in tunables and setting.exists() and "[madvise]" in setting.read_text():
        os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, ASKING)))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def in_one_line(error: BaseException, interrupted: str = "interrupted") -> str:
    """What ended a command; interrupted: the line of an interrupt, which may say how the work goes on."""
    return interrupted if isinstance(error, KeyboardInterrupt) else f"error: {error_line(error)}"


def program(module: str) -> str:
    """What a command is called, as it was started: `dnl train`, `dnl-train` or `python -m dnl.train`."""
    started = Path(sys.argv[0]).stem
    if started == "dnl":
        return " ".join([started, *sys.argv[1:2]])
    return started if started.startswith("dnl-") else f"python -m {module}"


def show_anything() -> None:
    """Let standard output and error show what their encoding lacks as escapes: no result is lost to a terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def exit_status(
    work: Callable[[], object],
    *,
    told: Callable[[BaseException], str] = in_one_line,
    also: tuple[type[Exception], ...] = (),
) -> int:
    """Do a command's work and return its exit status: 0, 1 after an error, 130 after an interrupt.

    told: the line of what ended the work. Errors are OSError, ValueError, to which all errors of users' doing belong,
    and those of `also`; any other exception is a fault in the program and passes through.
    """
    show_anything()
    ends: tuple[type[BaseException], ...] = (KeyboardInterrupt, ValueError, OSError, *also)
    try:
        work()
    except ends as end:
        print(told(end), file=sys.stderr)
        return 130 if isinstance(end, KeyboardInterrupt) else 1
    return 0
