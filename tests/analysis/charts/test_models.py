from analysis.charts.models import curves_figure, iou_figure


def test_bars_of_two_models_stand_beside_each_other():
    figure = iou_figure({"one": {"Sky": 0.9, "Road": 0.5}, "two": {"Sky": 0.8, "Road": 0.6}})
    assert [list(bar.x) for bar in figure.data] == [[0.9, 0.5], [0.8, 0.6]]
    assert figure.layout.showlegend and not iou_figure({"one": {"Sky": 0.9}}).layout.showlegend


def test_curves_show_what_the_log_holds():
    records = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "miou": 0.3}]
    loss, miou = curves_figure(records).data
    assert (list(loss.x), list(loss.y)) == ([1, 2], [2.0, 1.0])
    assert (list(miou.x), list(miou.y)) == ([2], [0.3])
    assert curves_figure([{"epoch": 1}]).data == ()
