"""A visitor who behaves like a person, and checks at every step that the page is about their own image."""

import asyncio
import functools
import hashlib
import io
import json
import random
import time

import numpy as np
from PIL import Image

from dnl.datasets import Streets
from pages.parts.explorer.exports import file_stem
from tests.soak.answers import FILES, LENS_FILE, TABLE, Answer, Photo
from tests.soak.visitor import Visitor

PAUSE_SECONDS = (2.0, 8.0)
MOST_PINS = 4
MODEL, OTHER_MODEL = "camvid-dnl", "another"


class Record:
    """What all visitors together have seen: seconds by what was done, answers, and failures."""

    def __init__(self):
        self.seconds: dict[str, list[float]] = {}
        self.answers: list[Answer] = []
        self.failures: list[str] = []


@functools.cache
def street(index: int) -> Photo:
    scene = Streets("gallery")[index]
    return Photo(scene.image, scene.labels, f"Street {index + 1}")


def own_photo(number: int) -> Photo:
    """A photo that no other visitor has: a street with a band of noise of the visitor's own."""
    image = Streets("val")[number % 100].image.copy()
    image[:40] = np.random.default_rng(number).integers(0, 256, (40, image.shape[1], 3), np.uint8)
    return Photo(image, None, f"visitor{number}.png")


def image_id(image: np.ndarray) -> str:
    """As the lens names an image."""
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()[:16]


class Guest:
    """Visitor `number`; `compares`: whether they ever look at two models side by side."""

    def __init__(self, number: int, visitor: Visitor, record: Record, *, compares: bool = False):
        self.number, self.visitor, self.record, self.compares = number, visitor, record, compares
        self.rng = random.Random(number)
        self.own = own_photo(number)
        self.photo = street(0)
        self.models: tuple[str, ...] = (MODEL,)
        self.pins: dict[str, list[list[int]]] = {}  # image's id -> pixels (y, x), as the lens reports them

    async def stay(self, until: float, streets: int) -> None:
        """Look around once, then go on as a person would."""
        await self.open()
        for step in (lambda: self.choose_street(self.number % streets), self.pin, self.upload, self.pin):
            await self.think()
            await step()
        if self.compares:
            await self.compare()
        while time.monotonic() < until:
            await self.think()
            action = self.rng.random()
            if action < 0.15:
                await self.choose_street(self.rng.randrange(streets))
            elif action < 0.25:
                await self.upload()
            elif action < 0.40 and self.own_pins:
                await self.export(self.rng.choice((*FILES, LENS_FILE)))
            elif action < 0.45 and self.compares:
                await self.compare()
            else:
                await self.pin()

    async def think(self) -> None:
        await asyncio.sleep(self.rng.uniform(*PAUSE_SECONDS))

    @property
    def own_pins(self) -> list[list[int]]:
        return self.pins.get(image_id(self.photo.image), [])

    # --- what they do ------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        await self.timed("open the page", self.visitor.rerun())
        self.check()

    async def choose_street(self, index: int) -> None:
        if "Scene" not in self.visitor.labels("selectbox"):
            await self.timed("choose a source", self.visitor.choose("Image", "Built-in streets"))
        await self.timed("choose a street", self.visitor.choose("Scene", f"Street {index + 1}"))
        self.photo = street(index)
        self.check()

    async def upload(self) -> None:
        if "Photo" not in self.visitor.labels("file_uploader"):
            await self.timed("choose a source", self.visitor.choose("Image", "Your photo"))
        file = io.BytesIO()
        Image.fromarray(self.own.image).save(file, "PNG")
        await self.timed("upload a photo", self.visitor.upload("Photo", self.own.name, file.getvalue()))
        self.photo = self.own
        self.check()

    async def compare(self) -> None:
        """Put a second model beside the first, or take it away again."""
        self.models = (MODEL, OTHER_MODEL) if len(self.models) == 1 else (MODEL,)
        option = OTHER_MODEL if len(self.models) > 1 else "None"
        await self.timed("compare models", self.visitor.choose("Compare with", option))
        self.check()

    async def pin(self) -> None:
        """One more pin on this image, or the first of new ones."""
        pins = self.own_pins if len(self.own_pins) < MOST_PINS else []
        pixel = [self.rng.randrange(side) for side in self.photo.image.shape[:2]]
        self.pins = {**self.pins, image_id(self.photo.image): [*pins, pixel]}
        await self.timed("pin a pixel", self.visitor.report("dnl_lens", {"pins": self.pins}))
        self.check()

    async def export(self, what: str) -> None:
        name, content = await self.timed("fetch a file", self.visitor.download(what))
        stem, own = name.partition("-")[2].rpartition(".")[0], file_stem(self.photo)
        assert stem == own, f"{what} is named {name}, which is not of {self.photo.name}"
        self.got(what, content)

    # --- what they see -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """The lens holds this image and these models, and nobody else's; the table below is kept for later."""
        data = self.visitor.component("dnl_lens").bytes
        header = json.loads(data[4 : 4 + int.from_bytes(data[:4], "little")])
        shown = header["name"], header["image_id"], tuple(model["name"] for model in header["models"])
        wanted = self.photo.name, image_id(self.photo.image), self.models
        assert shown == wanted, f"the lens holds {shown}, not {wanted}"
        tables = [html.body for html in self.visitor.of_type("html") if 'data-figure="chance"' in html.body]
        assert len(tables) == 1, f"{len(tables)} tables of pinned pixels on the page"
        if self.own_pins:
            self.got(TABLE, tables[0])

    def got(self, what: str, content: str | bytes) -> None:
        pins = tuple((y, x) for y, x in self.own_pins)
        self.record.answers.append(Answer(self.number, self.photo, pins, self.models, what, content))

    async def timed(self, what: str, step):
        started = time.monotonic()
        result = await step
        self.record.seconds.setdefault(what, []).append(time.monotonic() - started)
        return result
