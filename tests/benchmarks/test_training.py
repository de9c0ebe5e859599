"""The training benchmark: what it reports, and that it trains what it says."""

import torch

from benchmarks import training
from dnl.training import speed
from dnl.training.config import override
from dnl.training.recipes import recipe

TINY = ["model.width=8", "batch_size=2", "crop_height=40", "crop_width=56"]


def test_the_ratio_is_that_of_the_median_times():
    text = training.report({"nl": [0.4, 0.5, 9.0], "dnl": [0.625, 0.1, 0.7]}, batch_size=4)
    assert text.splitlines() == ["  nl      8.00 images/s", " dnl      6.40 images/s", "dnl / nl  0.800"]


def test_the_command_trains_both_networks_and_refuses_nonsense(capsys):
    sets = [part for setting in TINY for part in ("--set", setting)]
    assert training.main(["--rounds", "1", *sets]) == 0
    assert "2 images of 40×56; median of 1 updates; cpu" in capsys.readouterr().out
    assert training.main(["--rounds", "0"]) == 1
    assert capsys.readouterr().err == "error: --rounds is 0; give 1 or more\n"


def test_an_update_changes_the_weights_of_the_recipes_network(monkeypatch):
    built = []
    original = speed.build_model
    monkeypatch.setattr(speed, "build_model", lambda config: built.append(original(config)) or built[-1])
    update = training.updater(override(recipe("camvid_dnl"), TINY), "nl", torch.device("cpu"))
    before = built[0].head[0].weight.clone()
    update()
    assert built[0].config.context == "nl"
    assert not torch.equal(built[0].head[0].weight, before)
