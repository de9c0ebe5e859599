"""What the lens takes in the browser for one move of the pointer.

    python -m benchmarks.lens [--cells 45x60 64x128 …] [--moves 300] [--kernel 3] [--models 1]
    python -m benchmarks.lens --url http://localhost:8501    the app as served, with what it shows on arrival
    python -m benchmarks.lens --tasks --cells 128x256        what runs in the background

A move computes the three rows with their figures, and draws the photo and the maps. The time is JavaScript's, from
the first computation to the last drawing command: by the clock, as the page itself takes it
(`performance.measure("lens")`), and of the processor, from Chromium's own trace, which other programs do not lengthen.
The moves are real ones of the mouse, to random places. Requests while moving are counted. Without --url: seeded random
queries, keys and class distributions on the labels of a built-in street, d = 64, 19 classes, sigmoid gate, learnt LR,
two models with --models 2. --tasks: the seconds, by the clock, until columns at another temperature, the noisiest
pixels, and the mean of the largest class are there, and the milliseconds of a raw row in a worker's loop, with
WebAssembly's SIMD and without, in turns. Needs a Chromium, and a quiet machine for the times by the clock.
"""

import argparse
import base64
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.capture import Capture
from analysis.geometry import Grid
from analysis.lens import SCRIPT, pack_capture, standalone_html
from benchmarks.browser import launch_chromium
from benchmarks.variants import DEPTH, SCORE_STD
from dnl.classes import LabelSet
from dnl.datasets import Streets

CLASSES = 19
IGNORE = 255
PIXELS_PER_CELL = 8
WARM_UP = 30
PATIENCE = 60_000  # milliseconds
NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
TRACED = ["devtools.timeline", "blink.user_timing"]


def make_capture(height: int, width: int, kernel: int, seed: int) -> Capture:
    """A capture of h×w cells, PIXELS_PER_CELL pixels a side each."""
    street, label_set = Streets("val", 1)[0], Streets.label_set
    votes = Grid(street.labels.shape, (height, width)).votes
    labels = votes(street.labels, label_set.num_classes, label_set.ignore_index)
    labels = np.where(labels == label_set.ignore_index, IGNORE, labels)
    size = (PIXELS_PER_CELL * height, PIXELS_PER_CELL * width)
    painted = Grid(size, (height, width)).spread(labels, IGNORE)
    rng = np.random.default_rng(seed)
    scale = (SCORE_STD / math.sqrt(DEPTH)) ** 0.5
    query, key = (scale * rng.standard_normal((DEPTH, height, width), np.float32) for _ in range(2))
    probs = np.exp(2 * rng.standard_normal((CLASSES, height, width), np.float32))
    names = tuple(f"class {label}" for label in range(CLASSES))
    palette = tuple((13 * label, 255 - 13 * label, 128) for label in range(CLASSES))
    return Capture(
        query,
        key,
        probs / probs.sum(axis=0),
        image=np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8),
        labels=painted,
        prediction=painted,
        label_set=LabelSet("benchmark", names, palette, ignore_index=IGNORE),
        gate="sigmoid",
        lr_kernel=kernel,
    )


def move_about(page: Page, moves: int) -> int:
    """Move the mouse `moves` times over the panels, each time until that is drawn; how many requests there were."""
    boxes = [page.locator(f"[data-panel={panel}] canvas").first.bounding_box() for panel in ("photo", "raw")]
    rng = np.random.default_rng(0)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for _ in range(moves):
        box = boxes[rng.integers(len(boxes))]
        x, y = rng.random(2)
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.evaluate(NEXT_FRAME)
    return len(requests)


def times_of_moves(trace: bytes) -> np.ndarray:
    """Milliseconds of each move in a trace of Chromium: M×2, by the clock and of the processor."""
    events = json.loads(trace)["traceEvents"]
    frames = [event for event in events if event["name"] == "FireAnimationFrame" and "tdur" in event]
    starts = np.array([event["ts"] for event in frames])
    times = []
    begun = {}
    for event in events:
        if event["name"] != "lens" or event.get("cat") != "blink.user_timing":
            continue
        if event["ph"] == "b":
            begun[event["id2"]["local"]] = event["ts"]
        elif event["ph"] == "e" and (start := begun.pop(event["id2"]["local"], None)) is not None:
            # The frame's callback that did the move's work; its start is finer than the page's clock, its end is not.
            frame = frames[np.flatnonzero(starts <= event["ts"])[-1]]
            times.append((event["ts"] - start, frame["tdur"]))
    return np.array(times) / 1000


def report(name: str, times: np.ndarray, requests: int) -> str:
    columns = (
        f"{words} median {np.median(values):5.2f} ms, 99 % {np.percentile(values, 99):5.2f} ms"
        for words, values in zip(("processor", "clock"), times.T[::-1], strict=True)
    )
    return f"{name:>14}  {len(times)} moves  {'  '.join(columns)}  {requests} requests"


# Options of each task in the background; `cells` are those of the largest class.
TASKS_SCRIPT = """async ([script, buffer]) => {
  const source = new Blob([script], { type: "text/javascript" });
  const lens = await import(URL.createObjectURL(source));
  const image = lens.unpack(Uint8Array.from(atob(buffer), (letter) => letter.charCodeAt(0)));
  const [model] = image.models;
  const choices = model.ownChoices;
  const byClass = Map.groupBy(model.queryGrid.classes.keys(), (cell) => model.queryGrid.classes[cell]);
  const cells = [...byClass.values()].sort((a, b) => b.length - a.length)[0];
  const tasks = {
    "columns at another temperature": ["allLogSums", { temperature: 2 }],
    "noisiest pixels": ["noisiestQueries", { choices, count: 8 }],
    [`mean of ${cells.length} rows`]: ["regionAverage", { cells, choices, direction: "row", logSums: [] }],
  };
  const seconds = {};
  for (const [words, [task, options]] of Object.entries(tasks)) {
    const begun = performance.now();
    await new Promise((done, failed) => lens.startJob(image, model, task, options, { progress() {}, done, failed }));
    seconds[words] = (performance.now() - begun) / 1000;
  }
  const queries = Array.from({ length: 64 }, (_, query) => query);
  const rows = { SIMD: [], plain: [] };
  for (let round = 0; round < 6; round++) {
    for (const kind of Object.keys(rows)) {
      const simd = kind === "SIMD" ? lens.rowsInstance() : null;
      const found = lens.exponentialRows(model, 1, queries, simd);
      // Keys are packed once, and the scores of the first 16 rows computed at once: both before the clock starts.
      for (let row = 0; row < 16; row++) found.next();
      const begun = performance.now();
      let count = 0;
      for (const _ of found) count++;
      rows[kind].push((performance.now() - begun) / count);
    }
  }
  return [navigator.hardwareConcurrency, seconds, rows];
}"""


def times_of_tasks(browser: Browser, capture: Capture) -> str:
    """What the tasks in the background take on one capture's map, in words."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    buffer = base64.b64encode(pack_capture(capture)).decode()
    cores, seconds, rows = page.evaluate(TASKS_SCRIPT, [SCRIPT, buffer])
    page.close()
    medians = {kind: statistics.median(times[1:]) for kind, times in rows.items()}
    tasks = ", ".join(f"{words} {taken:.1f} s" for words, taken in seconds.items())
    return (
        f"{capture.height:>9}×{capture.width}  {cores} cores: {tasks}; a row {medians['SIMD']:.2f} ms with SIMD, "
        f"{medians['plain']:.2f} ms without"
    )


def _measured(browser: Browser, address: str, moves: int) -> tuple[np.ndarray, int]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    try:
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.wait_for_selector(".lens[data-pixel]")
        page.wait_for_timeout(1000)
        move_about(page, WARM_UP)
        browser.start_tracing(page=page, categories=TRACED)
        requests = move_about(page, moves)
        return times_of_moves(browser.stop_tracing()), requests
    finally:
        page.close()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lens", description=__doc__.splitlines()[0])
    parser.add_argument("--cells", nargs="+", default=["45x60", "64x128"], metavar="ROWSxCOLUMNS")
    parser.add_argument("--moves", type=int, default=300)
    parser.add_argument("--kernel", type=int, default=3, choices=(3, 5, 7))
    parser.add_argument("--models", type=int, default=1, choices=(1, 2))
    parser.add_argument("--url", help="measure the app that is served there instead")
    parser.add_argument("--tasks", action="store_true", help="measure what runs in the background instead")
    options = parser.parse_args(arguments)
    if options.tasks and (options.url or options.models > 1):
        parser.error("--tasks measures one model and no served app; leave --url and --models out")
    if options.moves < 1:
        parser.error(f"--moves is {options.moves}; give 1 or more")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = launch_chromium(playwright)
        print(f"Chromium {browser.version}; {options.models} model(s), LR over {options.kernel}×{options.kernel} cells")
        if options.url:
            print(report("as served", *_measured(browser, options.url, options.moves)))
            return 0
        for cells in options.cells:
            height, width = map(int, cells.split("x"))
            if options.tasks:
                print(times_of_tasks(browser, make_capture(height, width, options.kernel, 0)))
                continue
            captures = [make_capture(height, width, options.kernel, seed) for seed in range(options.models)]
            file = Path(folder) / "lens.html"
            file.write_bytes(standalone_html(pack_capture(*captures), title=cells, provenance={}))
            print(report(f"{height}×{width} cells", *_measured(browser, file.as_uri(), options.moves)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
