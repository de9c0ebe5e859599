import io
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from analysis.capture import Capture
from analysis.lens import image_id, known_look
from analysis.lens.script import SETTINGS
from dnl.classes import CAMVID, VOC
from pages.parts.app import links
from pages.parts.explorer.link import CHOICES, FIRST_LOOK, LOOK_NAMES
from tests.pages.small import address, app_on, save_network


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """Two small networks of the same classes, and one of others."""
    folder = tmp_path_factory.mktemp("zoo")
    for name, context, label_set in (("denoised", "dnl", CAMVID), ("plain", "nl", CAMVID), ("voc", "dnl", VOC)):
        save_network(folder / f"{name}.safetensors", context, label_set=label_set, stride=8, calm=True)
    return folder


@pytest.fixture
def app(zoo, monkeypatch) -> AppTest:
    return app_on(zoo, monkeypatch, 60)


def opened(app: AppTest, **parameters: str) -> AppTest:
    """The app on a fresh server and in a fresh browser, opened by a link."""
    for name, value in parameters.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app


def pixels(app: AppTest) -> list[tuple[int, int]]:
    """The pixels in the table."""
    (table,) = [block.proto.body for block in app.get("html") if 'data-figure="chance"' in block.proto.body]
    return [tuple(map(int, place)) for place in re.findall(r"<small>row (\d+), column (\d+)</small>", table)]


def models(app: AppTest) -> list[str]:
    (table,) = [block.proto.body for block in app.get("html") if 'data-figure="chance"' in block.proto.body]
    return re.findall(r'rowspan="\d">([\w-]+)</th>', table)


VIEW = {
    "image": "street-5",
    "model": "plain",
    "with": "denoised",
    "pins": "210.180_290.240",
    "active": "2",
    "gate": "binary",
    "retention": "box",
    "kernel": "5",
    "temperature": "2",
    "scale": "log",
    "outline": "0",
    "clip": "97.5",
}


def test_a_link_restores_the_whole_view_and_stays_in_the_address(app):
    opened(app, **VIEW)
    assert not app.warning and not app.error
    assert app.selectbox(key="scene").value == 4
    assert app.selectbox(key="model").value == "plain" and app.selectbox(key="compared with").value == "denoised"
    assert pixels(app) == [(210, 180), (290, 240)]
    assert models(app) == ["plain", "denoised"] * 2
    assert app.session_state["lens choices"] == {
        "gate": "binary",
        "retention": "box",
        "kernel": 5,
        "temperature": 2,
    }
    assert app.session_state["lens look"] == FIRST_LOOK | {"scale": "log", "outline": False, "clip": 97.5}
    assert address(app) == VIEW
    app.run()
    assert address(app) == VIEW and pixels(app) == [(210, 180), (290, 240)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", "street-99"),
        ("image", "../../etc/passwd"),
        ("image", "camvid-val-one"),
        ("model", "/etc/passwd"),
        ("with", "nobody"),
        ("pins", "1.2.3"),
        ("active", "9"),
        ("present", "2"),
        ("pins", "-1.5"),
        ("pins", "١.٢"),
        ("pins", "_".join(f"{row}.5" for row in range(9))),
        ("gate", "fancy"),
        ("kernel", "4"),
        ("temperature", "inf"),
        ("temperature", "99999"),
        ("clip", "<b>1</b>"),
        ("outline", "yes"),
        ("colour", "red"),
    ],
)
def test_what_a_link_holds_beyond_reason_is_named_and_the_rest_followed(app, name, value):
    opened(app, **{"image": "street-3", "gate": "similarity", name: value})
    (warning,) = app.warning
    words = re.sub(r"\\(.)", r"\1", warning.value)
    assert words.startswith(f"The link was followed without {name}={value[:20]}")
    if name != "image":
        assert app.selectbox(key="scene").value == 2
    if name != "gate":
        assert app.session_state["lens choices"]["gate"] == "similarity"
    assert name not in address(app) or address(app)[name] != value
    app.run()
    assert not app.warning


def test_a_link_may_present_the_lens_alone_and_a_button_leads_back(app):
    opened(app, image="street-3", present="")
    assert not app.warning and not app.title and address(app)["present"] == "1"
    assert app.selectbox(key="scene").value == 2
    app.button(key="leave").click().run()
    assert app.title and "present" not in address(app)
    app.button(key="present").click().run()
    assert not app.title and address(app)["present"] == "1"


def test_a_pin_off_the_image_is_named_and_the_others_kept(app):
    opened(app, image="street-1", pins="100.100_360.10_20.479")
    assert "pin 360.10" in app.warning[0].value.replace("\\", "")
    assert pixels(app) == [(100, 100), (20, 479)]
    assert address(app)["pins"] == "100.100_20.479"


def test_a_link_without_pins_takes_those_of_its_image_away(app):
    opened(app, image="street-2", pins="50.60")
    opened(app, image="street-3", pins="70.80")
    app.query_params.clear()
    opened(app, image="street-2", gate="off")
    assert "pins" not in address(app) and pixels(app) != [(50, 60)]
    app.selectbox(key="scene").select(2).run()
    assert pixels(app) == [(70, 80)]


def test_pins_of_an_image_that_is_not_here_are_not_put_on_another(app):
    opened(app, image="street-99", pins="100.100")
    assert "pins=100.100" in app.warning[0].value.replace("\\", "")
    assert "pins" not in address(app)


def test_pins_and_choices_outlive_a_change_of_page_and_are_asked_of_the_lens_again(app):
    opened(app, image="street-2", pins="50.60_70.80", gate="off")
    lens_before = app.session_state["visits"]
    app.switch_page("pages/lesson.py").run()
    assert not app.exception
    app.query_params.clear()
    app.switch_page("pages/explorer.py").run()
    assert not app.exception and not app.warning
    assert pixels(app) == [(50, 60), (70, 80)]
    assert address(app) == {"image": "street-2", "model": "denoised", "pins": "50.60_70.80", "gate": "off"}
    assert app.session_state["visits"] > lens_before
    request = app.session_state["lens request now"]["request"]
    assert [tuple(pixel) for pixel in request["pins"]] == [(50, 60), (70, 80)] and request["choices"]["gate"] == "off"


def test_another_image_has_its_own_pins_and_the_first_one_keeps_its(app):
    opened(app, image="street-2", pins="50.60_70.80")
    app.selectbox(key="scene").select(3).run()
    assert len(pixels(app)) == 1 and "pins" not in address(app) and address(app)["image"] == "street-4"
    app.selectbox(key="scene").select(1).run()
    assert pixels(app) == [(50, 60), (70, 80)]


def test_a_photo_of_one_s_own_is_not_in_the_link_and_that_is_said(app):
    opened(app)
    app.selectbox(key="source").select("Your photo").run()
    file = io.BytesIO()
    Image.fromarray(np.zeros((70, 130, 3), np.uint8)).save(file, "PNG")
    app.file_uploader(key="photo").set_value(("mine.png", file.getvalue(), "image/png")).run()
    app.session_state["lens pins"] = {image_id_of_photo(): [[1, 2]]}
    app.session_state["link to this view"] = True
    app.run()
    assert pixels(app) == [(1, 2)]
    assert address(app) == {"model": "denoised"}
    assert any("A link cannot carry your own file" in text.value for text in app.markdown)


def image_id_of_photo() -> str:
    return image_id(Capture(None, None, image=np.zeros((70, 130, 3), np.uint8), attention_size=(1, 1)))


def test_two_models_are_shown_on_the_same_pixels(app):
    opened(app, image="street-5", pins="210.180")
    assert models(app) == []
    app.selectbox(key="compared with").select("plain").run()
    assert not app.exception and not app.error
    assert models(app) == ["denoised", "plain"]
    assert address(app)["with"] == "plain"
    app.session_state["caption to copy"] = True
    app.run()
    caption = next(block.value for block in app.code if block.value.startswith("Attention of"))
    assert "checkpoint denoised (" in caption and "checkpoint plain (" in caption
    app.selectbox(key="model").select("plain").run()
    assert not app.exception and models(app) == []  # no model is compared with itself


def test_a_model_of_other_classes_is_not_compared_and_that_is_said(app):
    opened(app, **{"with": "voc"})
    assert "the two know different classes" in app.error[0].value
    assert models(app) == [] and "with" not in address(app)


def test_the_first_look_is_the_lens_s_own():
    assert SETTINGS["firstLook"] == FIRST_LOOK == known_look(FIRST_LOOK)
    assert list(SETTINGS["looks"]) == list(LOOK_NAMES) and tuple(SETTINGS["choices"]) == CHOICES


class Query(dict):
    """Stands in for Streamlit's address; counts how often it was written."""

    written = 0

    def to_dict(self):
        return dict(self)

    def from_dict(self, values):
        self.written += 1
        self.arrive(values)

    def arrive(self, values):
        """A request comes with this address."""
        self.clear()
        self.update(values)


@pytest.fixture
def query(monkeypatch) -> Query:
    found = Query()
    monkeypatch.setattr(links.st, "session_state", {})
    monkeypatch.setattr(links.st, "query_params", found)
    return found


def test_an_own_address_is_a_link_only_where_the_user_went_back_to_it(query, monkeypatch):
    """While the browser still shows the address of before the last click, its requests carry that one."""
    for pins in ("1.1", "2.2", "3.3"):
        links.write_link({"pins": pins})
    for pins in ("1.1", "3.3"):
        query.arrive({"pins": pins})
        assert links.opened_link() is None
    query.arrive({"pins": "1.1"})
    went_back = SimpleNamespace(is_history_navigation=True)
    monkeypatch.setattr(links, "get_script_run_ctx", lambda: went_back)
    assert links.opened_link() == {"pins": "1.1"}


def test_an_address_is_written_again_where_an_earlier_one_is_still_on_its_way(query):
    photo, street = {"model": "denoised"}, {"model": "denoised", "image": "street-1"}
    links.write_link(photo)
    links.write_link(street)
    query.arrive(photo)  # asked for before `street` reached the browser
    count = query.written
    links.write_link(photo)
    assert query.written == count + 1
    links.write_link(photo)
    assert query.written == count + 1
