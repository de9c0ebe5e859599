"""How long a user of the Explorer waits: python -m benchmarks.explorer [--rounds 5]

Each round serves the app and, beside it, a page that holds nothing but an empty canvas component, both afresh, and
uses them in a headless Chromium (needs requirements-dev.txt and a Chromium). Every visitor has a browser profile of
their own, and visits both pages in turn: the server's first one as soon as it answers or, with --rest, so many seconds
later, and then VISITORS more. Shown are, as medians over all rounds, the time from the request to a live lens or
canvas, and the processor time of the tab's process until then, with their ratios; then the time from a click to the
pinned row in the table, and from the choice of another built-in street (360×480, 45×60 cells) to its lens. Whatever
else the machine does is in the seconds; the ratios share it.
"""

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from benchmarks.browser import launch_chromium

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 120
REST_MILLISECONDS = 1500  # between two measurements, for what is still on its way
VISITORS = 4  # after the first one
FIRST, LATER = "first visitor", "later visitors"
# Pixels (y, x) of a photo of 360×480, and streets.
CLICKS = ((230, 120), (300, 400), (150, 60), (200, 300), (330, 240))
SCENES = (4, 7, 9, 2, 6)
# The least that a page with a component of its own needs.
EMPTY_PAGE = """
import streamlit as st

SCRIPT = "export default ({ parentElement }) => { parentElement.querySelector('canvas').dataset.alive = 1; }"
empty = st.components.v2.component("empty", html="<canvas></canvas>", js=SCRIPT)
empty(key="empty")
"""
ALIVE = {"empty page": "canvas[data-alive]", "Explorer": ".lens[data-pixel]"}

Arrivals = dict[tuple[str, str], list[tuple[float, float]]]  # visitor and page -> wall and processor seconds
Waits = dict[str, list[float]]  # seconds, by what is waited for


@contextlib.contextmanager
def served(script: str | Path) -> Iterator[str]:
    """The address of a Streamlit script that nobody has opened yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "streamlit", "run", str(script), "--server.headless=true", f"--server.port={port}"]
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


def arrival(browser: Browser, address: str, alive: str) -> tuple[BrowserContext, Page, float, float]:
    """A visit by someone new: their browser, the page, and wall and processor seconds until `alive` matches."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    monitor = context.new_cdp_session(page)
    monitor.send("Performance.enable")
    before = process_seconds(monitor)
    start = time.monotonic()
    page.goto(address)
    page.wait_for_selector(alive)
    return context, page, time.monotonic() - start, process_seconds(monitor) - before


def process_seconds(monitor: CDPSession) -> float:
    """Processor time of the tab's process so far."""
    metrics = monitor.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "ProcessTime")


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
    page.mouse.move(2, 2)  # away from whatever shows a tip in front of the list
    page.get_by_test_id("stSelectbox").filter(has_text="Scene").locator("input").click()
    option = page.get_by_role("option", name=f"Street {scene}", exact=True)
    option.wait_for()
    start = time.monotonic()
    option.click()
    page.locator("[data-panel=photo] figcaption").get_by_text(f"Street {scene}", exact=True).first.wait_for()
    return time.monotonic() - start


def use(page: Page, found: Waits) -> None:
    """Add what a visitor waits for who pins pixels and chooses other streets."""
    page.locator(".pins tbody").first.wait_for()
    for y, x in CLICKS:
        page.wait_for_timeout(REST_MILLISECONDS)
        found["click to the row in the table"].append(click_to_row(page, y, x))
    for scene in SCENES:
        page.wait_for_timeout(REST_MILLISECONDS)
        found["choice of an image to its lens"].append(choice_to_lens(page, scene))


def one_round(browser: Browser, empty_page: Path, rest: float, arrivals: Arrivals, found: Waits) -> None:
    """Add the times of one fresh server for each page."""
    with served("app.py") as app, served(empty_page) as empty:
        time.sleep(rest)
        for visitor in range(1 + VISITORS):
            for name, address in (("empty page", empty), ("Explorer", app)):
                context, page, *seconds = arrival(browser, address, ALIVE[name])
                arrivals[LATER if visitor else FIRST, name].append(tuple(seconds))
                page.wait_for_timeout(REST_MILLISECONDS)
                if name == "Explorer" and visitor == VISITORS:
                    use(page, found)
                context.close()


def show(arrivals: Arrivals, found: Waits) -> None:
    """Print the medians."""
    for visitor in (FIRST, LATER):
        for place, kind in enumerate(("until alive", "processor time of the tab")):
            taken = {name: statistics.median(times[place] for times in arrivals[visitor, name]) for name in ALIVE}
            ratio = taken["Explorer"] / taken["empty page"]
            words = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in taken.items())
            print(f"{visitor:14} {kind:26} {words}: {ratio:.2f} times")
    for name, seconds in found.items():
        print(f"{name:32} median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s of {len(seconds)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="fresh servers (default: %(default)s)")
    parser.add_argument(
        "--rest",
        type=float,
        default=0,
        help="seconds from a server's start to its first visitor (default: %(default)s)",
    )
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; give 1 or more")
    if options.rest < 0:
        parser.error(f"--rest is {options.rest}; give 0 or more")
    arrivals: Arrivals = defaultdict(list)
    found: Waits = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        empty_page = Path(folder, "empty.py")
        empty_page.write_text(EMPTY_PAGE, encoding="utf-8")
        browser = launch_chromium(playwright)
        for _ in range(options.rounds):
            one_round(browser, empty_page, options.rest, arrivals, found)
        browser.close()
    show(arrivals, found)


if __name__ == "__main__":
    main()
