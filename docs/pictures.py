"""Make the pictures of the README from a built-in street and the shipped checkpoint: python docs/pictures.py

attention.png is the figure that the app offers for download. explorer.png is the Explorer itself, photographed in a
headless Chromium (needs requirements-dev.txt and a Chromium).
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
sys.path.insert(0, str(ROOT))

from analysis import capture_attention  # noqa: E402
from analysis.figures import attention_figure  # noqa: E402
from analysis.geometry import pixel_to_cell  # noqa: E402
from dnl import load_checkpoint  # noqa: E402
from dnl.datasets import Streets  # noqa: E402

CHECKPOINT = "camvid-dnl"
SCENE = 4  # of the built-in gallery
PIXELS = ((210, 180), (290, 240))  # (y, x) of the queries in the figure


def attention_picture() -> None:
    model, _ = load_checkpoint(CHECKPOINT)
    sample = Streets("gallery")[SCENE]
    capture = capture_attention(model, sample.image, labels=sample.labels, name=sample.name)
    cells = [pixel_to_cell(y, x, sample.image.shape[:2], capture.cells) for y, x in PIXELS]
    queries = np.array([row * capture.width + column for row, column in cells])
    figure = attention_figure(capture, queries, gate="binary")
    figure.savefig(FOLDER / "attention.png", dpi=200)


def explorer_picture() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = ["-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", str(port)]
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT)
    try:
        wait_for(f"{address}/_stcore/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": 1440, "height": 860})
            page.goto(address)
            page.locator('[data-panel="retained"] [data-figure="interclassNoise"]').filter(has_text=".").wait_for()
            page.wait_for_timeout(1500)  # fonts and the first drawing
            page.screenshot(path=FOLDER / "explorer.png")
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
    explorer_picture()
