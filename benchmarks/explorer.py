"""How long a user of the Explorer waits: python -m benchmarks.explorer [--rounds 5]

The app is served afresh and used in a headless Chromium (needs requirements-dev.txt and a Chromium): the time from the
first request to a live lens, from a click to the pinned row in the table, and from the choice of another built-in
street (360×480, 45×60 cells) to its lens. Medians and the slowest of all rounds, in seconds; whatever else the machine
does is in them.
"""

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from benchmarks.browser import launch_chromium

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120
REST_MILLISECONDS = 1500  # between two measurements, for what is still on its way
# Pixels (y, x) of a photo of 360×480, and streets.
CLICKS = ((230, 120), (300, 400), (150, 60), (200, 300), (330, 240))
SCENES = (4, 7, 9, 2, 6)


@contextlib.contextmanager
def fresh_app() -> Iterator[str]:
    """The address of an app that nobody has opened yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    server = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait()


def arrival(page: Page, address: str) -> float:
    start = time.monotonic()
    page.goto(address)
    page.wait_for_selector(".lens[data-pixel]")
    return time.monotonic() - start


def click_to_row(page: Page, y: int, x: int) -> float:
    """From a click to one more row of pins in the table."""
    pins = page.locator(".pins tbody .number").count()
    photo = page.locator("[data-panel=photo] canvas").first.bounding_box()
    start = time.monotonic()
    page.mouse.click(photo["x"] + x / 480 * photo["width"], photo["y"] + y / 360 * photo["height"])
    page.wait_for_function(f"document.querySelectorAll('.pins tbody .number').length === {pins + 1}", polling=10)
    return time.monotonic() - start


def choice_to_lens(page: Page, scene: int) -> float:
    """From the choice of a street to the lens that shows it."""
    page.get_by_test_id("stSelectbox").filter(has_text="Scene").locator("input").click()
    option = page.get_by_role("option", name=f"Street {scene}", exact=True)
    option.wait_for()
    start = time.monotonic()
    option.click()
    page.locator("[data-panel=photo] figcaption").get_by_text(f"Street {scene}", exact=True).first.wait_for()
    return time.monotonic() - start


def one_round(found: dict[str, list[float]]) -> None:
    """Add the times that a first visitor of a fresh app waits."""
    with fresh_app() as address, sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(1000 * PATIENCE_SECONDS)
        found["first arrival to a live lens"].append(arrival(page, address))
        page.locator(".pins tbody").first.wait_for()
        for y, x in CLICKS:
            page.wait_for_timeout(REST_MILLISECONDS)
            found["click to the row in the table"].append(click_to_row(page, y, x))
        for scene in SCENES:
            page.wait_for_timeout(REST_MILLISECONDS)
            found["choice of an image to its lens"].append(choice_to_lens(page, scene))
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="fresh servers (default: %(default)s)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error(f"--rounds is {rounds}; give 1 or more")
    found: dict[str, list[float]] = defaultdict(list)  # by what is waited for
    for _ in range(rounds):
        one_round(found)
    for name, seconds in found.items():
        print(f"{name:32} median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s of {len(seconds)}")


if __name__ == "__main__":
    main()
