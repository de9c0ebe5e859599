"""Names of files and classes in a report stay text: no markup of theirs runs, and nothing is fetched."""

import csv
from html.parser import HTMLParser

import pytest

from tests.browser.widgets import PATIENCE_SECONDS
from tests.fuzz.corpus import HOSTILE_NAMES
from tests.fuzz.reports import hostile_report

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore:Glyph")]

ACTIVE = {"script", "iframe", "object", "embed", "form", "base", "link", "img", "video", "audio", "foreignobject"}
ADDRESSES = {"href", "src", "xlink:href", "action", "data", "poster", "srcset"}


class Inspector(HTMLParser):
    """Collects what could run or be fetched, and the page's text."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attributes):
        if tag in ACTIVE:
            self.found.append(tag)
        for name, value in attributes:
            local = (value or "").startswith(("#", "data:image/"))
            if name.startswith("on") or (name in ADDRESSES and not local):
                self.found.append(f"{tag} {name}={value}")

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return hostile_report(tmp_path_factory.mktemp("report"))


def test_nothing_in_the_page_could_run_or_be_fetched(report):
    inspector = Inspector()
    inspector.feed(report.read_text(encoding="utf-8"))
    assert not inspector.found
    assert HOSTILE_NAMES[0] in "".join(inspector.text)


def test_nothing_in_the_page_does_run_or_is_fetched(chromium, report):
    page = chromium.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.wait_for_timeout(500)
    assert page.evaluate("window.ran") is None
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert HOSTILE_NAMES[0] in page.inner_text("body")
    page.close()


def test_the_page_allows_no_script(chromium, report):
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    page.close()


def test_files_are_named_harmlessly_and_stay_inside(report):
    names = [path.name for path in report.parent.rglob("*")]
    assert names and all(name.replace(".", "").replace("_", "").replace("-", "").isalnum() for name in names)


def test_tables_keep_their_rows(report):
    with (report.parent / "per_class.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert rows and all(len(row) == len(header) for row in rows)


def test_the_app_asks_nothing_of_the_network(chromium, app_url):
    page = chromium.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(app_url)
    page.wait_for_selector("canvas", timeout=1000 * PATIENCE_SECONDS)
    outside = [url for url in asked if not url.startswith((app_url, app_url.replace("http", "ws"), "data:", "blob:"))]
    assert asked and not outside
    page.close()
