"""A headless Chromium, and the app as served by Streamlit."""

import base64
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import sync_playwright

from analysis import capture_attention
from analysis.lens import CSS, HTML, SCRIPT, pack_capture
from benchmarks.browser import launch_chromium
from dnl import ModelConfig, build_model
from dnl.checkpoints import save_checkpoint
from dnl.classes import CAMVID
from dnl.datasets import Streets
from tests.browser.widgets import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
PAGE_STYLE = (ROOT / "analysis" / "lens" / "browser" / "standalone.css").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def street():
    """A capture of 45×60 cells: a built-in street, as a small untrained network sees it."""
    scene = Streets("gallery")[0]
    model = untrained_model().eval()
    return capture_attention(model, scene.image, labels=scene.labels, name="Street 1")


def untrained_model():
    torch.manual_seed(0)
    model = build_model(ModelConfig("resnet18", 16, 11, attention_stride=8, gamma_init=0.5))
    model.label_set = CAMVID
    # Untrained scores are huge and the softmax all but one-hot: smaller ones give maps with something to measure.
    with torch.no_grad():
        model.context.query.weight *= 0.05
    return model


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Path:
    """A folder of checkpoints with one small untrained network, which stands beside the shipped ones."""
    folder = tmp_path_factory.mktemp("zoo")
    save_checkpoint(folder / "untrained.safetensors", untrained_model(), {"name": "untrained"})
    return folder


@pytest.fixture(scope="session")
def app_url(zoo):
    """The address of the running app."""
    with serving(zoo) as url:
        yield url


@pytest.fixture
def fresh_url(zoo):
    """The address of an app that nobody has opened yet."""
    with serving(zoo) as url:
        yield url


@contextlib.contextmanager
def serving(zoo: Path) -> Iterator[str]:
    """Streamlit on a free port until the block ends: the app's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = zoo / f"streamlit-{port}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"],
            cwd=ROOT,
            env={**os.environ, "DNL_CHECKPOINTS": str(zoo), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(f"{url}/_stcore/health", server, log)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)


def _wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(PATIENCE_SECONDS * 4):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None:
                break
            time.sleep(0.25)
    raise RuntimeError(f"Streamlit did not start:\n{log.read_text(errors='replace')}")


class LensPage:
    """A page that holds nothing but the lens, with a list of what it reports in place of a server."""

    def __init__(self, page, buffer: bytes):
        self.page = page
        self.complaints = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_content(f"<style>{PAGE_STYLE}{CSS}</style>{HTML}")
        page.evaluate(
            """async (script) => {
              const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
              window.lens = await import(address);
              window.reports = {};
            }""",
            SCRIPT,
        )
        self.show(buffer)

    def show(self, buffer: bytes) -> None:
        """Send the lens a buffer, as the server does."""
        self.page.evaluate(
            """(text) => {
              const data = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              const setStateValue = (name, value) => { window.reports[name] = structuredClone(value); };
              window.rest?.();
              window.rest = lens.default({ data, parentElement: document.body, setStateValue });
            }""",
            base64.b64encode(buffer).decode(),
        )
        self.page.wait_for_selector(".lens[data-pixel]")
        self.settle()

    def settle(self) -> None:
        """Until the lens has drawn."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def reported(self, name: str):
        return self.page.evaluate("(name) => window.reports[name]", name)

    def canvas(self, panel: str, model: int = 0):
        return self.page.locator(f"[data-panel={panel}][data-model='{model}'] canvas")

    def point(self, panel: str, y: float, x: float, size: tuple[int, int]) -> tuple[float, float]:
        """Where the middle of image pixel (y, x) lies on the screen, in a lens that shows the whole image."""
        box = self.canvas(panel).bounding_box()
        return box["x"] + (x + 0.5) / size[1] * box["width"], box["y"] + (y + 0.5) / size[0] * box["height"]

    def click(self, panel: str, y: int, x: int, size: tuple[int, int] = (360, 480)) -> None:
        """A click on an image pixel, after which the pointer goes away."""
        self.page.mouse.click(*self.point(panel, y, x, size))
        self.page.mouse.move(2, 2)

    def choose(self, name: str, value) -> None:
        self.page.locator(f"[data-choice={name}] input[value='{value}']").check()

    def open_options(self) -> None:
        self.page.get_by_text("More options").click()

    def chips(self):
        """The pins in the list of pins."""
        return self.page.get_by_role("list", name="Pins").get_by_role("listitem")

    def pins(self) -> list[list[int]]:
        """The pins as they were last reported."""
        return next(iter((self.reported("pins") or {"": []}).values()))

    def pixel(self) -> list[int]:
        """The pixel that is shown."""
        self.settle()
        return [int(side) for side in self.page.locator(".lens").get_attribute("data-pixel").split()]

    def figures(self, stage: str, model: int = 0) -> dict[str, float | None]:
        """The figures under one map; None: undefined."""
        self.settle()
        panel = self.page.locator(f"[data-panel={stage}][data-model='{model}']")
        return {
            name: float(value) if (value := cell.get_attribute("data-value")) else None
            for name in ("interclassNoise", "intraclassNoise", "hollowFraction", "keptMass")
            for cell in [panel.locator(f"[data-figure={name}]")]
        }


@pytest.fixture(scope="session")
def buffer(street):
    return pack_capture(street, health={"state": "alive", "sentence": "Alive: it is used."}, names=("small",))


@pytest.fixture(scope="session")
def tall(street):
    """A capture of 25×12 cells over an image of 200×90 pixels."""
    return dataclasses.replace(
        street,
        query=street.query[:, :25, :12].copy(),
        key=street.key[:, :25, :12].copy(),
        class_probs=street.class_probs[:, :25, :12].copy(),
        image=street.image[:200, :90].copy(),
        labels=street.labels[100:300, 100:190].copy(),
        prediction=street.prediction[100:300, 100:190].copy(),
    )


@pytest.fixture(scope="module")
def script_page(chromium):
    """A blank page with the script's functions as `lens`."""
    page = chromium.new_page()
    page.evaluate(
        """async (script) => {
          const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
          window.lens = await import(address);
        }""",
        SCRIPT,
    )
    yield page
    page.close()


@pytest.fixture
def lens_page(chromium):
    """lens_page(buffer, **options of the browser's context) -> LensPage; its console must stay free of errors."""
    opened = []

    def open_lens(buffer: bytes, **options) -> LensPage:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        context.set_default_timeout(1000 * PATIENCE_SECONDS)
        opened.append((context, LensPage(context.new_page(), buffer)))
        return opened[-1][1]

    yield open_lens
    for context, lens in opened:
        context.close()
        assert lens.complaints == []


@pytest.fixture
def lens(lens_page, buffer) -> LensPage:
    return lens_page(buffer)
