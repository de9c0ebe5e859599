import pytest

from analysis.charts.pins import pins_figure as chart
from tests.analysis.pins.small import make_views


@pytest.fixture
def views():
    return make_views()


def test_the_chart_shows_the_figures_beside_chance(views):
    figure = chart(views, "interclass_noise")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert len(bars) == 4 and list(bars[0].x) == ["1 a", "2 =b", "3 a"]
    assert list(bars[2].y) == [views[0].figures(pin, "retained")["interclass_noise"] for pin in range(3)]
    assert bars[3].name == "raw" and not bars[3].showlegend  # the second view's one stage
    assert list(bars[3].y) == [views[1].figures(pin, "raw")["interclass_noise"] for pin in range(3)]
    chance = [trace for trace in figure.data if trace.name == "chance"]
    assert list(chance[0].y) == [views[0].figures(pin, "raw")["chance"] for pin in range(3)]
    assert not [trace for trace in chart(views, "kept_mass").data if trace.name == "chance"]
