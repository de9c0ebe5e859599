"""Make the pictures of the README from a built-in street and the shipped checkpoint: python docs/pictures.py

attention.png is the figure that the app offers for download. explorer.png is the Explorer itself, photographed in a
headless Chromium (needs requirements-dev.txt and a Chromium), and lens.webp the lens at work there: the pointer goes
over the photo, pins two pixels and changes the gate. heads.png is what `analysis.show` shows of the example of another
network, with the maps of all its heads.
"""

import contextlib
import io
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
sys.path.insert(0, str(ROOT))

import analysis  # noqa: E402
from analysis import capture_attention  # noqa: E402
from analysis.examples import vision_transformer  # noqa: E402
from analysis.figures import attention_figure  # noqa: E402
from analysis.lens import asking_for, pack_layers, standalone_html  # noqa: E402
from benchmarks.browser import launch_chromium  # noqa: E402
from dnl import load_checkpoint  # noqa: E402
from dnl.classes import CAMVID  # noqa: E402
from dnl.datasets import Streets, camvid_labels  # noqa: E402
from dnl.transforms import normalise  # noqa: E402

CHECKPOINT = "camvid-dnl"
SCENE = 4  # of the built-in gallery
PIXELS = ((210, 180), (290, 240))  # (y, x) of the queries in the figure, and of the pins in the film
HEAD, HEADS_PIXEL = ("blocks.4.attn", 3), [290, 240]  # that is shown large, and the pixel that looks
PATIENCE_SECONDS = 120

# The film: the pointer's way over the photo, (y, x) of its corners; those in PIXELS are pinned.
WAY = ((40, 60), (120, 90), (210, 180), (235, 330), (290, 240), (150, 420))
FILM_STEPS = 6  # frames from one corner to the next
FRAME_MILLISECONDS = 110
FILM_WIDTH = 860  # pixels
FILM_MARGIN = 12
FILM_BYTES = 1_000_000


def attention_picture() -> None:
    model, _ = load_checkpoint(CHECKPOINT)
    sample = Streets("gallery")[SCENE]
    capture = capture_attention(model, sample.image, labels=sample.labels, name=sample.name)
    figure = attention_figure(capture, [capture.cell_at(y, x) for y, x in PIXELS], gate="binary")
    figure.savefig(FOLDER / "attention.png", dpi=200)


def heads_picture(page: Page) -> None:
    """What the README's three lines show, of the small vision transformer on a built-in street."""
    street = Streets("gallery")[SCENE]
    model = vision_transformer().requires_grad_(False)
    with analysis.watch(model, "*.attn") as watched:
        model(normalise(street.image)[None])
    labels = camvid_labels(street, CAMVID)
    layers = watched.layers(image=street.image, labels=labels, label_set=CAMVID, name=street.name)
    shown = asking_for(pack_layers(layers, HEAD), {"id": "picture", "pins": [HEADS_PIXEL]})
    page.set_viewport_size({"width": 1100, "height": 1200})
    page.set_content(standalone_html(shown, title=street.name, provenance={}).decode())
    page.get_by_role("button", name="All heads").click()
    page.wait_for_timeout(1500)
    lens = page.locator(".lens").bounding_box()
    end = page.locator("[data-panel=raw] dl").bounding_box()
    height = end["y"] + end["height"] - lens["y"] + 2 * FILM_MARGIN
    picture = io.BytesIO(page.screenshot(clip={"x": 0, "y": lens["y"] - FILM_MARGIN, "width": 1100, "height": height}))
    Image.open(picture).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(FOLDER / "heads.png", optimize=True)


def explorer_picture(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 860})
    page.goto(address)
    wait_for_lens(page)
    page.screenshot(path=FOLDER / "explorer.png")


def lens_film(page: Page, address: str) -> None:
    """An animated picture of at most FILM_BYTES: the pointer's way over the photo, two clicks, another gate."""
    page.set_viewport_size({"width": 1360, "height": 1200})
    page.goto(f"{address}/?image=street-{SCENE + 1}&model={CHECKPOINT}")
    wait_for_lens(page)
    lens = page.locator(".lens").bounding_box()
    shown = {
        "x": lens["x"] - FILM_MARGIN,
        "y": lens["y"] - FILM_MARGIN,
        "width": lens["width"] + 2 * FILM_MARGIN,
        "height": lens["height"] + 2 * FILM_MARGIN,
    }
    photo = page.locator('[data-panel="photo"] canvas').bounding_box()
    frames, times = [], []

    def film(milliseconds: int) -> None:
        page.wait_for_timeout(150)  # until it is drawn
        frames.append(Image.open(io.BytesIO(page.screenshot(clip=shown))).convert("RGB"))
        times.append(milliseconds)

    def point(y: float, x: float) -> None:
        page.mouse.move(photo["x"] + x / 480 * photo["width"], photo["y"] + y / 360 * photo["height"])

    here = WAY[0]
    for there in WAY[1:]:
        for step in range(1, FILM_STEPS + 1):
            point(*(start + (end - start) * step / FILM_STEPS for start, end in zip(here, there, strict=True)))
            film(FRAME_MILLISECONDS)
        if there in PIXELS:
            page.mouse.down()
            page.mouse.up()
            page.wait_for_timeout(1500)  # the server writes the table, below the film's edge
            film(900)
        here = there
    page.locator('[data-choice="gate"] input[value="binary"]').check()
    page.wait_for_timeout(1500)
    film(2500)
    width = min(FILM_WIDTH, frames[0].width)
    height = round(frames[0].height * width / frames[0].width)
    frames = [frame.resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
    for quality in range(80, 20, -10):
        film_file = io.BytesIO()
        frames[0].save(
            film_file,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=times,
            loop=0,
            quality=quality,
            method=6,
        )
        if film_file.tell() <= FILM_BYTES:
            break
    (FOLDER / "lens.webp").write_bytes(film_file.getvalue())


def wait_for_lens(page: Page) -> None:
    page.locator('[data-panel="retained"] [data-figure="interclassNoise"]').filter(has_text=".").first.wait_for()
    page.locator(".pins tbody").first.wait_for()
    page.wait_for_timeout(1500)  # fonts and the first drawing


@contextlib.contextmanager
def served_app() -> Iterator[tuple[Page, str]]:
    """An empty page of a browser, and the address of the app, which runs until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = ["-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", str(port)]
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    try:
        wait_for(f"{address}/_stcore/health")
        with sync_playwright() as playwright:
            browser = launch_chromium(playwright)
            page = browser.new_page()
            page.set_default_timeout(1000 * PATIENCE_SECONDS)
            yield page, address
            browser.close()
    finally:
        server.terminate()
        server.wait()


def wait_for(address: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)


if __name__ == "__main__":
    attention_picture()
    with served_app() as (browser_page, app_address):
        heads_picture(browser_page)
        explorer_picture(browser_page, app_address)
        lens_film(browser_page, app_address)
