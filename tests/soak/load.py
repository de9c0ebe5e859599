"""Many visitors at once: python -m tests.soak.load [--visitors 25] [--minutes 3]

Starts the app and lets real WebSocket sessions use the Explorer: choose streets, upload photos of their own, pin
pixels, fetch figures, with pauses as people make. Checked at every step: the page shows no exception, its lens holds
the very image that this visitor has chosen (by the hash of its pixels), and a figure bears the name and pixel of this
visitor's own pin. In the end: how long a pin's answer took, and how much memory the server held.

Exit code 0 if nothing failed, the 95th percentile of a pin's answer is at most 2 s, memory is at most 3 GB, and its
median in the last third of the time is at most 10 % above that in the middle third.
"""

import argparse
import asyncio
import hashlib
import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dnl.datasets import Streets
from tests.soak.server import Server, serve
from tests.soak.visitor import Visitor

MOST_SECONDS, MOST_BYTES, MOST_GROWTH = 2.0, 3 * 10**9, 1.10
PAUSE_SECONDS = (2.0, 8.0)
STREETS = 12


def image_id(image: np.ndarray) -> str:
    """As the lens names an image."""
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def own_photo(number: int) -> np.ndarray:
    """A photo that no other visitor has: a street with the visitor's number in its colours."""
    image = Streets("val")[number % 100].image.copy()
    image[:40] = np.random.default_rng(number).integers(0, 256, (40, image.shape[1], 3), np.uint8)
    return image


class Record:
    """What all visitors together have seen."""

    def __init__(self):
        self.pins: list[float] = []
        self.steps: dict[str, list[float]] = {}
        self.failures: list[str] = []

    def took(self, what: str, seconds: float) -> None:
        self.steps.setdefault(what, []).append(seconds)


class Guest:
    """A visitor who behaves like a person, and checks what it gets."""

    def __init__(self, number: int, visitor: Visitor, record: Record):
        self.number, self.visitor, self.record = number, visitor, record
        self.rng = random.Random(number)
        self.photo = own_photo(number)
        self.expected = ""  # id of the image that the lens must hold
        self.size = (0, 0)
        self.name = ""
        self.pins: dict[str, list] = {}

    async def stay(self, until: float) -> None:
        await self.timed("open", self.visitor.rerun())
        await self.street(0)
        while time.monotonic() < until:
            await asyncio.sleep(self.rng.uniform(*PAUSE_SECONDS))
            action = self.rng.random()
            if action < 0.15:
                await self.street(self.rng.randrange(STREETS))
            elif action < 0.25:
                await self.own_photo()
            elif action < 0.35 and self.pins.get(self.expected):
                await self.figure()
            else:
                await self.pin()

    async def street(self, index: int) -> None:
        if "Scene" not in self.visitor.labels("selectbox"):
            await self.timed("choose a source", self.visitor.choose("Image", "Built-in streets"))
        await self.timed("choose a street", self.visitor.choose("Scene", f"Street {index + 1}"))
        self.see(await asyncio.to_thread(street, index), f"street-{index + 1}")

    async def own_photo(self) -> None:
        if "Photo" not in self.visitor.labels("file_uploader"):
            await self.timed("choose a source", self.visitor.choose("Image", "Your photo"))
        file = io.BytesIO()
        Image.fromarray(self.photo).save(file, "PNG")
        name = f"visitor{self.number}.png"
        await self.timed("upload a photo", self.visitor.upload("Photo", name, file.getvalue()))
        self.see(self.photo, name)

    def see(self, image: np.ndarray, name: str) -> None:
        self.expected, self.size, self.name = image_id(image), image.shape[:2], name
        self.check_lens()

    def check_lens(self) -> None:
        data = self.visitor.component("dnl_lens").bytes
        header = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
        assert header["image_id"] == self.expected, f"the lens holds {header['name']}, not {self.name}"

    async def pin(self) -> None:
        pixel = [self.rng.randrange(side) for side in self.size]
        self.pins = {**self.pins, self.expected: [pixel]}
        started = time.monotonic()
        await self.visitor.report("dnl_lens", {"pins": self.pins})
        self.record.pins.append(time.monotonic() - started)
        self.check_lens()
        assert list(self.visitor.of_type("table")), "a pin has no table"

    async def figure(self) -> None:
        label = next(label for label in self.visitor.labels("download_button") if "PNG" in label)
        started = time.monotonic()
        name, content = await self.visitor.download(label)
        self.record.took("fetch a figure", time.monotonic() - started)
        (y, x), own = self.pins[self.expected][0], self.name.rpartition(".")[0] or self.name
        assert own in name and f"-{x}-{y}." in name, f"{name} is not the figure of {self.name} at {x}, {y}"
        assert Image.open(io.BytesIO(content)).format == "PNG"

    async def timed(self, what: str, step) -> None:
        started = time.monotonic()
        await step
        self.record.took(what, time.monotonic() - started)


_streets: dict[int, np.ndarray] = {}


def street(index: int) -> np.ndarray:
    if index not in _streets:
        _streets[index] = Streets("gallery")[index].image
    return _streets[index]


async def guest(number: int, server: Server, record: Record, until: float) -> None:
    await asyncio.sleep(number * 0.4)  # a lecture hall does not click as one
    try:
        async with Visitor(server.address) as visitor:
            await Guest(number, visitor, record).stay(until)
    except Exception as error:
        record.failures.append(f"visitor {number}: {type(error).__name__}: {error}")


async def watch(server: Server, until: float) -> list[int]:
    samples = []
    while time.monotonic() < until:
        samples.append(server.resident_bytes())
        await asyncio.sleep(1)
    return samples


async def hold(server: Server, visitors: int, seconds: float) -> tuple[Record, list[int]]:
    record, until = Record(), time.monotonic() + seconds
    guests = [guest(number, server, record, until) for number in range(visitors)]
    memory, *_ = await asyncio.gather(watch(server, until), *guests)
    return record, memory


def quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description="Many visitors of the app at once.")
    parser.add_argument("--visitors", type=int, default=25)
    parser.add_argument("--minutes", type=float, default=3.0)
    options = parser.parse_args()
    for index in range(STREETS):
        street(index)
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as server:
        at_start = server.resident_bytes()
        record, memory = asyncio.run(hold(server, options.visitors, 60 * options.minutes))
        problems = list(record.failures)
        if "Traceback" in server.log:
            problems.append(f"the server's log has a traceback:\n{server.log[-3000:]}")
    third = len(memory) // 3
    middle, last = (float(np.median(part)) for part in (memory[third : 2 * third], memory[2 * third :]))
    slow = quantile(record.pins, 0.95)
    for what, seconds in [*sorted(record.steps.items()), ("pin", record.pins)]:
        half, most = quantile(seconds, 0.5), quantile(seconds, 0.95)
        print(f"{what}: {len(seconds)}, median {half:.2f} s, 95 % within {most:.2f} s")
    print(
        f"memory: {at_start / 1e6:.0f} MB at the start, median {middle / 1e6:.0f} MB in the middle third, "
        f"{last / 1e6:.0f} MB in the last, {max(memory) / 1e6:.0f} MB at most"
    )
    if not slow <= MOST_SECONDS:
        problems.append(f"95 % of the pins are answered within {slow:.2f} s, not {MOST_SECONDS} s")
    if max(memory) > MOST_BYTES:
        problems.append(f"the server took {max(memory) / 1e9:.2f} GB")
    if last > middle * MOST_GROWTH:
        problems.append(f"memory grows: {middle / 1e6:.0f} MB, then {last / 1e6:.0f} MB")
    print(
        "\n".join(problems) or f"{options.visitors} visitors for {options.minutes:g} minutes: no error, no cross-talk"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
