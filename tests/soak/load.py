"""Many visitors at once: python -m tests.soak.load [--visitors 25] [--minutes 3]

Starts the app and lets real WebSocket sessions use the Explorer: choose streets, upload photos of their own, pin
pixels, fetch every kind of file, and (one in five) compare two models, with pauses as people make. Checked at every
step: the page shows no exception, and its lens holds the very image and models that this visitor has chosen. Checked
once they have left: every table and file that anybody got is, byte by byte, what the same request gives in a process
of its own; and the server has let go of their uploads, their sessions and what it had cached for them alone.

Exit code 0 if nothing failed, the 95th percentile of a pin's answer is at most 2 s, memory is at most 3 GB, and its
median in the last third of the time is at most 10 % above that in the middle third.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from tests.soak.answers import strange_answers
from tests.soak.faults import small_checkpoint
from tests.soak.guest import OTHER_MODEL, Guest, Record, street
from tests.soak.server import Server, serve
from tests.soak.visitor import Visitor

MOST_SECONDS, MOST_BYTES, MOST_GROWTH = 2.0, 3 * 10**9, 1.10
STREETS = 12
ONE_COMPARES_IN = 5
# Streamlit empties a session's caches when its tab is closed, but keeps its state and uploads for two minutes, in case
# the connection was only interrupted, and looks for those that are over whenever another one ends.
KEPT_SECONDS = 130


async def guest(number: int, server: Server, record: Record, until: float) -> None:
    await asyncio.sleep(number * 0.4)  # a lecture hall does not click as one
    try:
        async with Visitor(server.address) as visitor:
            compares = number % ONE_COMPARES_IN == 0
            await Guest(number, visitor, record, compares=compares).stay(until, STREETS)
    except Exception as error:
        record.failures.append(f"visitor {number}: {type(error).__name__}: {error}")


async def watch(server: Server, until: float) -> tuple[list[int], dict[str, int]]:
    """The server's memory each second, and what it holds at the end, while everybody is still there."""
    samples = []
    while time.monotonic() < until:
        samples.append(server.resident_bytes())
        await asyncio.sleep(1)
    return samples, await asyncio.to_thread(held_bytes, server)


async def hold(server: Server, visitors: int, seconds: float) -> tuple[Record, list[int], dict[str, int]]:
    record, until = Record(), time.monotonic() + seconds
    guests = [guest(number, server, record, until) for number in range(visitors)]
    (memory, held), *_ = await asyncio.gather(watch(server, until), *guests)
    return record, memory, held


async def outlast(server: Server) -> None:
    """Wait until the sessions of those who left are over, and let one more visitor come and go."""
    await asyncio.sleep(KEPT_SECONDS)
    async with Visitor(server.address) as visitor:
        await visitor.rerun()
    await asyncio.sleep(2)


def held_bytes(server: Server) -> dict[str, int]:
    """What the server holds for its visitors, bytes by kind as it reports them; captures: everybody's and their own."""
    with urllib.request.urlopen(f"http://{server.address}/_stcore/metrics", timeout=60) as answer:
        text = answer.read().decode()

    def total(pattern: str) -> int:
        return sum(int(size) for size in re.findall(rf"^cache_memory_bytes{{{pattern}}} (\d+)$", text, re.MULTILINE))

    return {
        "uploads": total('cache_type="UploadedFileManager",cache=""'),
        "files to fetch": total('cache_type="st_memory_media_file_storage",cache=""'),
        "captures": total('cache_type="st_cache_data",cache="pages.parts.subjects.captures._(?:captured|compared)"'),
    }


def say_steps(record: Record) -> None:
    for what, seconds in sorted(record.seconds.items()):
        half, most = np.quantile(seconds, (0.5, 0.95))
        print(f"{what}: {len(seconds)}, median {half:.2f} s, 95 % within {most:.2f} s")


def memory_problems(memory: list[int]) -> list[str]:
    """Says what the server's memory was, and gives what is wrong with it."""
    third = len(memory) // 3
    middle, last = (float(np.median(part)) for part in (memory[third : 2 * third], memory[2 * third :]))
    print(
        f"memory: {memory[0] / 1e6:.0f} MB at the start, median {middle / 1e6:.0f} MB in the middle third, "
        f"{last / 1e6:.0f} MB in the last, {max(memory) / 1e6:.0f} MB at most"
    )
    problems = []
    if max(memory) > MOST_BYTES:
        problems.append(f"the server took {max(memory) / 1e9:.2f} GB")
    if last > middle * MOST_GROWTH:
        problems.append(f"memory grows: {middle / 1e6:.0f} MB, then {last / 1e6:.0f} MB")
    return problems


def release_problems(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Says what the server held with the visitors there and without them, and gives what it should have let go."""
    for kind in before:
        print(f"{kind} held: {before[kind] / 1e6:.1f} MB with the visitors, {after[kind] / 1e6:.1f} MB without")
    problems = []
    if after["uploads"]:
        problems.append(f"{after['uploads']} bytes of uploads are held for nobody")
    if not before["uploads"]:
        problems.append("nobody's upload was seen on the server: nothing shows that it would be let go")
    if before["captures"] <= after["captures"]:
        problems.append("captures of visitors' own photos are held for nobody")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description="Many visitors of the app at once.")
    parser.add_argument("--visitors", type=int, default=25)
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    for index in range(STREETS):
        street(index)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "zoo").mkdir()
        small_checkpoint(folder / "zoo" / f"{OTHER_MODEL}.safetensors", 0)
        os.environ["DNL_CHECKPOINTS"] = str(folder / "zoo")  # for the server, and for the comparison here
        with serve(folder) as server:
            record, memory, held = asyncio.run(hold(server, options.visitors, 60 * options.minutes))
            asyncio.run(outlast(server))
            problems = [*record.failures, *memory_problems(memory), *release_problems(held, held_bytes(server))]
            print(f"memory once they have left: {server.resident_bytes() / 1e6:.0f} MB")
            if "Traceback" in server.log:
                problems.append(f"the server's log has a traceback:\n{server.log[-3000:]}")
        say_steps(record)
        strange = strange_answers(record.answers)
        print(f"{len(record.answers)} tables and files compared, {len(strange)} not their visitor's own")
        problems += strange
    slow = float(np.quantile(record.seconds.get("pin a pixel", [np.inf]), 0.95))
    if slow > MOST_SECONDS:
        problems.append(f"95 % of the pins are answered within {slow:.2f} s, not {MOST_SECONDS} s")
    print(
        "\n".join(problems) or f"{options.visitors} visitors for {options.minutes:g} minutes: no error, no cross-talk"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
