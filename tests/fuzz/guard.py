"""What every hostile input must keep to: one clear sentence or a result, in bounded time and memory.

A case is an input that was tried; `COUNTS` says how many there were and how many were refused. The suite tries about
1400 of them; DNL_FUZZ=10 in the environment tries ten times as many.
"""

import os
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.fuzz.counts import COUNTS

FACTOR = int(os.environ.get("DNL_FUZZ", "1"))
# Processor time, so that a busy machine changes nothing.
MOST_SECONDS = 5
# Above what the process held before, for inputs of at most a few hundred kilobytes.
MOST_BYTES = 600 * 2**20
LONGEST_MESSAGE = 600


class Hang(BaseException):
    """An input that kept the processor busy for MOST_SECONDS. No Exception, so that nothing catches it."""


def cases(number: int):
    """Settings of a property: how many inputs it tries."""
    return settings(
        max_examples=number * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def bounded() -> Iterator[None]:
    """Raise Hang after MOST_SECONDS of processor time, and fail where memory grows by more than MOST_BYTES."""

    def stop(signum, frame):
        raise Hang(f"more than {MOST_SECONDS} s")

    before = start_of_peak()
    handler = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
    grown = peak() - before
    assert grown <= MOST_BYTES, f"memory grew by {grown / 2**20:.0f} MiB"


def start_of_peak() -> int:
    """Begin a new measurement of the peak; the memory held now, in bytes. 0 where the system cannot say."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    clear.write_text("5")
    return _status("VmRSS")


def peak() -> int:
    return _status("VmHWM") if Path("/proc/self/clear_refs").exists() else 0


def _status(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(match[1])


def result_or_sentence(kind: str, call: Callable, *errors: type[Exception]):
    """What `call` returns, or None where it refuses its input by one of `errors` with one clear sentence."""
    COUNTS[kind] += 1
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return call()
        except errors as error:
            COUNTS[f"{kind} refused"] += 1
            require_sentence(str(error))
            return None


def require_sentence(message: str) -> None:
    """One line of words for a person: nothing empty, endless, unprintable or out of Python's insides."""
    assert message.strip(), "an error without words"
    assert "\n" not in message and len(message) <= LONGEST_MESSAGE, message
    assert message.encode() and " " in message, message
    assert not re.search(r"Traceback|object at 0x|<class |<function |Errno|line \d+, in ", message), message


def command_or_sentence(kind: str, main: Callable[[list[str]], int], arguments: list[str], capsys) -> int:
    """Run a command; its exit code. It must end with 0, or with an error of one sentence as its last line."""
    COUNTS[kind] += 1
    capsys.readouterr()
    with bounded(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            code = main(arguments)
        except SystemExit as ended:  # argparse
            code = ended.code
    lines = [line for line in re.split(r"[\r\n]+", capsys.readouterr().err) if line.strip()]
    assert code in (0, 1, 2), code
    assert not any("Traceback" in line for line in lines), lines
    if code:
        COUNTS[f"{kind} refused"] += 1
        assert lines, f"exit code {code} without a word"
        if code == 1:
            # The error stream shows half surrogates by their numbers.
            require_sentence(lines[-1].removeprefix("error: ").encode(errors="backslashreplace").decode())
    return code
