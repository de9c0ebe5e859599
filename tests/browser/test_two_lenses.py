"""Several lenses on one page, each with its own pins, choices and look, and what a lens remembers of one before it."""

import base64

import pytest

from analysis.lens import CSS, FIRST_LOOK, HTML, SCRIPT, image_id
from tests.browser.conftest import PAGE_STYLE
from tests.browser.widgets import PATIENCE_SECONDS

pytestmark = pytest.mark.browser

SIZE = (360, 480)


class Lenses:
    """A page with places named by a letter, in each of which a lens can be built and taken down as a server does."""

    def __init__(self, page, buffer: bytes):
        self.page = page
        page.set_content(f"<style>{PAGE_STYLE}{CSS}</style><div id=a></div><div id=b></div>")
        page.evaluate(
            """async ([script, text]) => {
              const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
              window.lens = await import(address);
              window.buffer = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
              window.reports = { a: {}, b: {} };
              window.rests = {};
            }""",
            [SCRIPT, base64.b64encode(buffer).decode()],
        )

    def build(self, *places: str, component: str = "lens") -> None:
        for place in places:
            self.page.evaluate(
                """([place, name, html]) => {
                  const parentElement = document.getElementById(place);
                  parentElement.innerHTML = html;
                  const setStateValue = (name, value) => { reports[place][name] = structuredClone(value); };
                  rests[place] = lens.default({ name, data: buffer, parentElement, setStateValue });
                }""",
                [place, component, HTML],
            )
            self.page.wait_for_selector(f"#{place} .lens[data-pixel]")
        self.settle()

    def take_down(self, *places: str) -> None:
        for place in places:
            self.page.evaluate("(place) => { rests[place](); document.getElementById(place).innerHTML = ''; }", place)

    def settle(self) -> None:
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def locator(self, place: str, selector: str):
        return self.page.locator(f"#{place} {selector}")

    def click(self, place: str, y: int, x: int) -> None:
        canvas = self.locator(place, "[data-panel=photo] canvas")
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        across, down = (x + 0.5) / SIZE[1] * box["width"], (y + 0.5) / SIZE[0] * box["height"]
        self.page.mouse.click(box["x"] + across, box["y"] + down)
        self.page.mouse.move(2, 2)
        self.settle()

    def choose(self, place: str, name: str, value: str) -> None:
        self.locator(place, f"[data-choice={name}] input[value='{value}']").check()

    def chosen(self, place: str, name: str) -> str:
        return self.locator(place, f"[data-choice={name}] input:checked").get_attribute("value")

    def figure(self, place: str) -> str:
        self.settle()
        return self.locator(place, "[data-panel=rectified] [data-figure=interclassNoise]").get_attribute("data-value")

    def pins(self, place: str) -> int:
        return self.locator(place, ".pins li").count()

    def reports(self, place: str) -> dict:
        return self.page.evaluate("(place) => reports[place]", place)


@pytest.fixture
def lenses(chromium, buffer):
    """The page, with errors counted: there must be none."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE_SECONDS)
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield Lenses(page, buffer)
    page.close()
    assert complaints == []


def test_two_lenses_do_not_disturb_each_other(lenses, street):
    lenses.build("a", "b")
    before = lenses.figure("b")
    lenses.click("a", 300, 100)
    lenses.choose("a", "gate", "binary")
    lenses.choose("a", "direction", "column")
    lenses.locator("a", "summary").click()
    lenses.locator("a", "select[name=scale]").select_option("log")
    lenses.choose("a", "direction", "row")
    assert lenses.figure("a") != before == lenses.figure("b")
    assert (lenses.pins("a"), lenses.pins("b")) == (1, 0)
    assert (lenses.chosen("b", "gate"), lenses.chosen("b", "direction")) == ("sigmoid", "row")
    assert lenses.locator("b", "select[name=scale]").input_value() == "share"
    assert lenses.locator("b", "details[open]").count() == 0
    assert lenses.reports("b") == {"alive": True}

    lenses.click("b", 40, 60)
    lenses.click("b", 200, 400)
    lenses.choose("b", "gate", "oracle")
    lenses.locator("b", "summary").click()
    lenses.locator("b", "select[name=colormap]").select_option("greys")
    assert (lenses.pins("a"), lenses.pins("b")) == (1, 2)
    assert (lenses.chosen("a", "gate"), lenses.chosen("b", "gate")) == ("binary", "oracle")
    told = {place: lenses.reports(place) for place in "ab"}
    assert [len(told[place]["pins"][image_id(street)]) for place in "ab"] == [1, 2]
    assert [told[place]["choices"]["gate"] for place in "ab"] == ["binary", "oracle"]
    assert told["a"]["look"] == FIRST_LOOK | {"scale": "log"}
    assert told["b"]["look"] == FIRST_LOOK | {"colormap": "greys"}


def test_no_two_parts_of_the_page_have_one_name(lenses):
    lenses.build("a", "b")
    ids = lenses.page.evaluate("() => [...document.querySelectorAll('.lens [id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids)) == 2
    described = lenses.page.locator("[data-panel=photo] canvas").evaluate_all(
        "(found) => found.map((canvas) => canvas.closest('.lens') === "
        "document.getElementById(canvas.getAttribute('aria-describedby')).closest('.lens'))"
    )
    assert described == [True, True]


def test_a_lens_that_is_built_again_remembers(lenses):
    lenses.build("a")
    lenses.click("a", 300, 100)
    lenses.click("a", 40, 60)
    lenses.choose("a", "gate", "binary")
    lenses.locator("a", "summary").click()
    lenses.locator("a", "select[name=scale]").select_option("log")
    figure = lenses.figure("a")
    lenses.take_down("a")
    lenses.build("b")  # elsewhere on the page
    assert lenses.pins("b") == 2 and lenses.chosen("b", "gate") == "binary" and lenses.figure("b") == figure
    assert lenses.locator("b", "details[open] select[name=scale]").input_value() == "log"
    lenses.locator("b", "").get_by_role("button", name="Undo").click()
    assert lenses.pins("b") == 1


def test_each_of_two_finds_its_own_memory_again(lenses):
    lenses.build("a", "b")
    lenses.click("a", 300, 100)
    lenses.choose("b", "gate", "binary")
    for _ in range(2):
        lenses.take_down("a", "b")
        lenses.build("a", "b")
        assert (lenses.pins("a"), lenses.pins("b")) == (1, 0)
        assert (lenses.chosen("a", "gate"), lenses.chosen("b", "gate")) == ("sigmoid", "binary")


def test_another_component_s_lens_knows_nothing(lenses):
    lenses.build("a")
    lenses.click("a", 300, 100)
    lenses.take_down("a")
    lenses.build("b", component="another")
    assert lenses.pins("b") == 0
    lenses.build("a")
    assert lenses.pins("a") == 1
