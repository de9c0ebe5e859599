"""The lens as one file: opened from disk, with the network off."""

import dataclasses

import numpy as np
import pytest

from analysis.geometry import pixel_to_cell
from analysis.lens import asking_for, pack_capture, standalone_html
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from dnl.classes import LabelSet
from tests.browser.widgets import PATIENCE_SECONDS

pytestmark = pytest.mark.browser

# The smallest WebAssembly there is.
COMPILES = "() => WebAssembly.compile(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])).then(() => true)"
HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>\"'&"


@pytest.fixture
def open_file(chromium, tmp_path):
    """open_file(page's bytes) -> the page, opened from disk without a network; it must not complain of anything."""
    context = chromium.new_context(offline=True, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))

    def open_page(content: bytes):
        path = tmp_path / "lens.html"
        path.write_bytes(content)
        page.goto(path.as_uri())
        page.wait_for_selector(".lens[data-pixel]")
        return page

    open_page.complaints = complaints
    yield open_page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "blob:"))] == []
    context.close()


def test_the_file_is_the_same_lens(open_file, street):
    buffer = asking_for(pack_capture(street), {"id": 1, "pins": [[300, 100]], "choices": {"gate": "binary"}})
    content = standalone_html(buffer, title="Street 1", provenance={"checkpoint": "small", "sha256": "ab" * 32})
    assert len(content) <= 6e6
    page = open_file(content)
    assert page.title() == "Street 1" and "ab" * 32 in page.locator("footer").inner_text()
    row, column = pixel_to_cell(300, 100, (360, 480), (45, 60))
    cell = row * 60 + column
    for stage in ("raw", "rectified", "retained"):
        row = getattr(attention_rows(street, [cell], gate="binary"), stage)
        expected = query_metrics(row, street.cell_labels, [cell], ignore_index=street.ignore_index)
        shown = page.locator(f"[data-panel={stage}] [data-figure=interclassNoise]").get_attribute("data-value")
        assert float(shown) == pytest.approx(float(expected.interclass_noise[0]), abs=1e-9)
    box = page.locator("[data-panel=raw] canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    page.locator(".state").get_by_text("Preview").wait_for()
    # The worker runs as well, from the file's own text.
    page.get_by_role("button", name="Noisiest pixels").click()
    page.get_by_role("group", name="Noisiest pixels").get_by_role("button").first.wait_for()
    assert page.evaluate(COMPILES)  # what makes it fast there is not forbidden


def test_no_text_of_the_file_is_ever_run(open_file, street):
    names = (HOSTILE, *street.label_set.class_names[1:])
    hostile = dataclasses.replace(
        street, name=HOSTILE, label_set=dataclasses.replace(street.label_set, class_names=names)
    )
    buffer = pack_capture(hostile, health={"state": HOSTILE, "sentence": HOSTILE}, names=(HOSTILE,))
    page = open_file(standalone_html(buffer, title=HOSTILE, provenance={HOSTILE: HOSTILE}))
    page.wait_for_timeout(200)
    assert page.evaluate("window.broken") is None
    assert page.title() == HOSTILE
    assert page.locator("h1").inner_text() == HOSTILE
    assert page.locator("footer dd").inner_text() == HOSTILE
    assert HOSTILE in page.locator(".classes").inner_text()
    assert HOSTILE in page.locator("[data-panel=photo] figcaption").inner_text()


def test_the_policy_forbids_everything_but_the_file_s_own_script(open_file, street):
    content = standalone_html(pack_capture(street), title="t", provenance={}).decode()
    policy = content.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src 'none'" in policy and "worker-src blob:" in policy
    assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", "") and "http" not in policy
    page = open_file(content.encode())
    blocked = page.evaluate(
        """async () => {
          const violated = new Promise((done) => document.addEventListener("securitypolicyviolation", done));
          const script = document.createElement("script");
          script.textContent = "window.broken = 1";
          document.body.append(script);
          return (await violated).violatedDirective;
        }"""
    )
    assert blocked.startswith("script-src") and page.evaluate("window.broken") is None
    assert "has been blocked" in open_file.complaints.pop()


def test_an_unusual_capture_opens_too(open_file):
    """No classes at all, taller than wide, one channel."""
    from analysis import Capture

    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 9, 4)).astype(np.float32)
    capture = Capture.from_qk(query, key, 9, 4, image=rng.integers(0, 256, (90, 40, 3), dtype=np.uint8))
    page = open_file(standalone_html(pack_capture(capture), title="bare", provenance={"image": "none"}))
    assert page.get_by_text("no classes to measure noise against").is_visible()
    assert page.get_by_role("button", name="Noisiest pixels").count() == 0


def test_a_label_set_of_one_class_is_said_in_words(open_file, street):
    one = LabelSet("one", ("thing",), ((9, 9, 9),), ignore_index=255)
    alone = dataclasses.replace(
        street,
        labels=np.zeros_like(street.labels),
        prediction=np.zeros_like(street.labels),
        class_probs=np.ones((1, *street.cells), np.float32),
        label_set=one,
    )
    page = open_file(standalone_html(pack_capture(alone), title="one", provenance={}))
    assert page.locator("[data-panel=raw] [data-figure=interclassNoise]").inner_text() == "–"
    assert "of its raw attention is on thing" in page.locator(".sentence").inner_text()
