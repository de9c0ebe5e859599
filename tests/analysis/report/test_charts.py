import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.geometry import Grid
from analysis.options import STAGES
from analysis.printing import print_settings
from analysis.report.charts import (
    CLASS_METRICS,
    DIFFERENCE_METRICS,
    INK,
    STYLE,
    chart_names,
    class_chart,
    comparison_chart,
    difference_chart,
    leakage_chart,
    noise_map_figure,
    save_chart,
)
from analysis.report.html import figure_html
from tests.analysis.report.small import SIZE


def test_charts_and_noise_maps_are_pictures(finished):
    charts = {path.name for path in (finished / "charts").iterdir()}
    stems = {name.rpartition(".")[0] for name in charts}
    assert {"stages", "differences", "hollow_curve", "leakage_raw", "classes_interclass_noise", "classes_auc"} <= stems
    assert charts == {f"{stem}.{end}" for stem in stems for end in ("png", "svg")}
    maps = sorted((finished / "noise_maps").iterdir())
    assert [path.suffix for path in maps] == [".png", ".svg"] * 3
    for path in (finished / "charts" / "stages.png", maps[0]):
        with Image.open(path) as picture:
            assert np.array(picture.convert("L")).std() > 5


def test_noise_maps_lie_on_the_photo_as_the_cells_do(records):
    image = np.zeros((*SIZE, 3), np.uint8)
    figure = noise_map_figure(image, records[0])
    photo, *maps = [ax for ax in figure.axes if ax.images][:4]
    assert photo.images[0].get_array().shape == image.shape
    for ax, stage in zip(maps, STAGES, strict=True):
        assert ax.get_title() == stage
        assert tuple(ax.images[0].get_extent()) == Grid(SIZE, records[0].noise_maps[stage].shape).extent()


def test_inline_charts_take_the_pages_colours_and_files_a_white_ground(tmp_path):
    def draw():
        figure = Figure(figsize=(1, 1))
        figure.add_subplot().set_title("$x$")
        return figure

    inline = save_chart(tmp_path / "chart", draw)
    assert inline.startswith("<svg") and "currentColor" in inline and INK not in inline and "$x$" in inline
    assert 'fill="white"' in (tmp_path / "chart.svg").read_text() and 'fill="white"' not in inline
    with Image.open(tmp_path / "chart.png") as picture:
        assert picture.size == (200, 200) and picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_undefined_differences_leave_an_empty_chart():
    undefined = {metric: {"mean": None, "low": None, "high": None} for metric in DIFFERENCE_METRICS}
    assert not difference_chart({"retained - raw": undefined}).axes


NAMES = {
    "few": [f"class {index}" for index in range(6)],
    "long": [f"{index} of things that have a rather long and winding name, or more" for index in range(6)],
    "many": [f"thing {index}" for index in range(60)],
    "words without spaces": ["m" * 60, "x" * 300, "a_b-c" * 12],
}


def boxes(texts, figure):
    figure.draw_without_rendering()
    return [text.get_window_extent() for text in texts if text.get_text()]


def drawn(draw):
    with print_settings(STYLE):
        return draw()


@pytest.mark.parametrize("kind", NAMES)
def test_names_in_charts_lie_inside_and_apart(kind):
    names, entry = NAMES[kind], {"mean": 0.5, "low": 0.4, "high": 0.6, "chance": 0.5}
    texts = chart_names(names, "class").texts
    of_stage = {metric: {**entry, "per_class": dict.fromkeys(names, entry)} for metric in CLASS_METRICS}
    summary = {"stages": dict.fromkeys(STAGES, of_stage)}
    matrix = [[1 / len(names)] * len(names) for _ in names]
    for figure in (
        drawn(lambda: class_chart(summary, "interclass_noise", texts)),
        drawn(lambda: leakage_chart(matrix, names, "raw", texts)),
    ):
        ax = figure.axes[0]
        for labels in (ax.get_yticklabels(), ax.get_xticklabels()):
            found = boxes(labels, figure)
            slanted = labels[0].get_rotation() % 90 != 0
            apart = [not (a.overlaps(b)) or slanted for a, b in itertools.pairwise(found)]
            assert all(apart) and all(box.x0 >= -1 and box.y0 >= -1 for box in found)
        assert ax.get_window_extent().width > 0.3 * figure.get_window_extent().width
    figure = drawn(lambda: comparison_chart(dict.fromkeys(names[:5], summary), texts))
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.get_window_extent().x1


def test_rows_of_a_large_matrix_name_the_numbers_of_its_columns():
    names = NAMES["many"]
    matrix = [[1 / 60] * 60 if index != 3 else None for index in range(60)]
    ax = drawn(lambda: leakage_chart(matrix, names, "raw", chart_names(names, "class").texts)).axes[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == [str(index) for index in range(60)]
    assert [text.get_text().split() for text in ax.get_yticklabels()][7] == ["thing", "7", "7"]
    assert ax.images[0].get_array().mask[3].all() and "grey: none" in ax.get_ylabel()


def test_a_chart_wider_than_the_page_keeps_its_size_there():
    assert 'class="wide"' in figure_html('<svg height="10pt" version="1.1" width="1200.5pt">', "a")
    assert 'class="wide"' not in figure_html('<svg height="10pt" version="1.1" width="518.4pt">', "a")
