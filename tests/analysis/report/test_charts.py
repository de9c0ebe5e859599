import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from analysis.geometry import Grid
from analysis.options import STAGES
from analysis.report.charts import DIFFERENCE_METRICS, INK, difference_chart, noise_map_figure, save_chart
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
