"""Layers and heads in the lens: every row, the choosers, the overview, and the stages that are not there."""

import base64

import numpy as np
import pytest

from analysis.capture import Layer, Layers
from analysis.lens import asking_for, pack_capture, pack_layers
from analysis.maps import attention_rows
from analysis.noise import query_metrics
from analysis.options import STAGES
from dnl.classes import LabelSet

pytestmark = pytest.mark.browser

SIZE, CELLS, KEYS = (47, 83), (4, 6), (2, 3)
NAMES = ("blocks.0.attn", "blocks.1.attn", "blocks.2.attn")


@pytest.fixture(scope="module")
def layers() -> Layers:
    """Tokens with a class token; finished maps onto other cells, of which a share was dropped; maps d×h×w."""
    rng = np.random.default_rng(2)
    shared = {
        "image": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        "labels": np.kron(rng.integers(0, 4, (4, 6)), np.ones((12, 14), int))[: SIZE[0], : SIZE[1]],
        "label_set": LabelSet("tiny", ("a", "b", "c"), ((0, 0, 0),) * 3, ignore_index=3),
        "name": "a photo",
        "placement": "blocks",
    }
    tokens = {part: rng.normal(size=(3, 25, 5)).astype(np.float32) for part in ("query", "key")}
    maps = {"attention": rng.dirichlet(np.ones(6), (2, 24)).astype(np.float32)}
    planes = {part: rng.normal(size=(3, 2, 4, 6)).astype(np.float32) for part in ("query", "key")}
    apart = {"key_size": KEYS, "dropped": rng.random((2, *CELLS)).astype(np.float32)}
    return Layers(
        (
            Layer(NAMES[0], CELLS, CELLS, (0, 1, 2), tokens, {**shared, "class_tokens": 1, "scale": 0.4}),
            Layer(NAMES[1], CELLS, KEYS, (1, 4), maps, {**shared, **apart}),
            Layer(NAMES[2], CELLS, CELLS, (0, 1, 2), planes, shared),
        )
    )


def figures(capture, cell: int) -> tuple[float, float]:
    labels = {} if capture.key_size is None else {"query_labels": capture.cell_labels}
    found = query_metrics(
        attention_rows(capture, [cell]).raw, capture.key_labels, [cell], ignore_index=capture.ignore_index, **labels
    )
    return float(found.interclass_noise[0]), float(found.intraclass_noise[0])


def chance_of(capture, y: int, x: int) -> float:
    """|D| / |S ∪ D| by counting."""
    cell, labels = capture.cell_at(y, x), capture.key_labels.ravel()
    others = labels if capture.key_size is not None else np.delete(labels, cell)
    others = others[others != capture.ignore_index]
    return float(np.mean(others != capture.cell_labels.ravel()[cell]))


def test_each_head_and_the_mean_have_python_s_rows_columns_and_shares(lens_page, layers):
    lens = lens_page(pack_layers(layers))
    for layer in layers:
        for head in (*layer.heads, "mean"):
            capture = layer.capture(head)
            found = lens.page.evaluate(
                """([text, map]) => {
                  const image = lens.unpack(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), map);
                  const [model] = image.models;
                  const sums = [];
                  if (model.query || model.parts?.[0].query) {
                    const { count, share, join } = lens.TASKS.allLogSums;
                    const options = { temperature: 1 };
                    const items = count(model);
                    const parts = [[0, 29], [29, items]].filter(([first]) => first < items); // across two heads
                    const shares = parts.map(([first, stop]) => {
                      const steps = share(model, options, first, Math.min(stop, items));
                      let step = steps.next();
                      while (!step.done) step = steps.next();
                      return step.value;
                    });
                    sums.push(...join(model, options, shares));
                  }
                  const cells = Array.from({ length: model.queryGrid.cells }, (_, cell) => cell);
                  return {
                    rows: cells.map((cell) => Array.from(lens.rawRow(model, cell))),
                    column: Array.from(lens.rawColumn(model, 3, 1, new Float64Array(sums))),
                    dropped: cells.map((cell) => lens.droppedShare(model, cell)),
                  };
                }""",
                [pack_text(layers), {"layer": layer.name, "head": head}],
            )
            rows = attention_rows(capture).raw.reshape(24, -1)
            # Python holds the mean of the heads in float32.
            np.testing.assert_allclose(found["rows"], rows, rtol=1e-6 if head == "mean" else 1e-9, atol=1e-12)
            np.testing.assert_allclose(found["column"], rows[:, 3], rtol=1e-6, atol=1e-9)
            if capture.dropped is None:
                assert found["dropped"] == [None] * 24
            else:
                np.testing.assert_allclose(found["dropped"], capture.dropped.ravel(), atol=1e-6)


def chosen(lens) -> dict:
    """The map that was last reported, of the one image."""
    (found,) = lens.reported("maps").values()
    return found


def pack_text(layers: Layers) -> str:
    return base64.b64encode(pack_layers(layers)).decode()


def test_choosers_and_the_overview_open_a_head(lens_page, layers):
    lens = lens_page(asking_for(pack_layers(layers), {"id": 1, "pins": [[30, 60]]}))
    page = lens.page
    assert (
        page.locator("select[name=layer]").input_value() == NAMES[2]
        and page.locator("select[name=head]").input_value() == "0"
    )
    page.locator("select[name=layer]").select_option(NAMES[1])
    assert chosen(lens) == {"layer": NAMES[1], "head": 1}  # it has no head 0
    page.locator("select[name=head]").select_option("mean")
    assert chosen(lens) == {"layer": NAMES[1], "head": "mean"}
    page.get_by_role("button", name="All heads").click()
    maps = page.get_by_role("group", name="Maps of all heads").get_by_role("button")
    maps.nth(layers.maps - 1).wait_for()
    assert maps.count() == layers.maps
    assert page.locator("select[name=order]").input_value() == "least"  # since there are labels
    lens.settle()
    shown = [maps.nth(number).get_attribute("aria-label") for number in range(layers.maps)]
    truth = []
    for layer in layers:
        for head in layer.heads:
            capture = layer.capture(head)
            truth.append((figures(capture, capture.cell_at(30, 60))[0], f"{layer.name}, head {head}"))
    truth.sort(key=lambda each: each[0])
    assert [label.partition(":")[0] for label in shown] == [name for _, name in truth]
    assert [float(label.split("noise ")[1][:5]) for label in shown] == pytest.approx(
        [noise for noise, _ in truth], abs=5e-4
    )
    # Coarser keys have other neighbours, and so another chance, which is said.
    note = page.locator(".overview .note").first.inner_text()
    chances = [chance_of(layers.capture(name, 1), 30, 60) for name in NAMES]
    assert f"Chance is {min(chances):.2f} to {max(chances):.2f}, since" in note
    maps.nth(0).click()
    layer, _, head = truth[0][1].partition(", head ")
    assert chosen(lens) == {"layer": layer, "head": int(head)} and maps.nth(0).get_attribute("aria-pressed") == "true"
    assert lens.figures("raw")["interclassNoise"] == pytest.approx(truth[0][0], abs=1e-6)
    # Two heads side by side have one map each, and no overview.
    pair = [layers.capture(NAMES[0], 0), layers.capture(NAMES[2], 1)]
    lens.show(pack_capture(*pair, names=("one", "two")))
    panels = [page.locator(f"[data-panel={stage}][data-model='{model}']") for model in (0, 1) for stage in STAGES]
    assert [panel.is_visible() for panel in panels] == [True, False, False] * 2 and not lens.complaints
    tops = {round(lens.canvas("raw", model).bounding_box()["y"]) for model in (0, 1)}
    assert len(tops) == 1
    cell = pair[1].cell_at(*lens.pixel())
    assert lens.figures("raw", 1)["interclassNoise"] == pytest.approx(figures(pair[1], cell)[0], abs=1e-6)


def test_layers_that_were_not_kept_are_named(lens_page, layers):
    left_out = {f"stem.{number}": "no softmax was seen" for number in range(5)}
    lens = lens_page(pack_layers(Layers(layers.layers, left_out)))
    note = lens.page.get_by_text("Not kept: stem.0 (no softmax was seen);")
    assert note.is_visible() and note.inner_text().endswith("and 2 more.")
    assert "stem.4: no softmax was seen" in note.get_attribute("title")


def test_a_network_without_gr_and_lr_has_one_map_in_sight(lens_page, layers):
    lens = lens_page(pack_layers(layers))
    panels = [lens.page.locator(f"[data-panel={stage}]") for stage in ("raw", "rectified", "retained")]
    assert [panel.is_visible() for panel in panels] == [True, False, False]
    lens.choose("retention", "box")
    lens.settle()
    assert [panel.is_visible() for panel in panels] == [True, False, True]


def test_a_request_and_a_return_show_the_same_head(lens_page, layers):
    lens = lens_page(asking_for(pack_layers(layers), {"id": 1, "map": {"layer": NAMES[0], "head": "mean"}}))
    shown = lens.page.locator("select[name=layer]"), lens.page.locator("select[name=head]")
    assert [each.input_value() for each in shown] == [NAMES[0], "mean"]
    lens.show(asking_for(pack_layers(layers), {"id": 2, "map": {"layer": "no such", "head": 0}}))
    assert [each.input_value() for each in shown] == [NAMES[0], "mean"]


def test_without_labels_there_is_no_order_by_noise(lens_page, layers):
    plain = layers.described(labels=None, label_set=None)
    lens = lens_page(pack_layers(plain))
    lens.page.get_by_role("button", name="All heads").click()
    assert lens.page.locator("select[name=order]").locator("option").all_inner_texts() == ["as in the network"]
    label = lens.page.get_by_role("group", name="Maps of all heads").get_by_role("button").nth(4)
    assert label.get_attribute("aria-label") == f"{NAMES[1]}, head 4"
