"""The mean of weights: by hand, of networks that belong together, and the command."""

import dataclasses

import pytest

from dnl.checkpoints import CheckpointError, average, load_checkpoint, read_card, recipes_of, save_checkpoint
from dnl.checkpoints.average import mean_network
from dnl.classes import LabelSet
from dnl.network import ModelConfig, build_model

CLASSES = LabelSet("tiny", ("a", "b", "c"), ((0, 0, 0),) * 3, 255)
TRAININGS = [{"name": "first", "seed": 3}, {"name": "second", "seed": 0}, {"name": "third", "seed": 1}]


def save(path, value: float, trainings: list[dict], *, width=8, label_set=CLASSES, **entries) -> str:
    """A network all of whose floating-point numbers are `value`, with a card that knows these trainings."""
    model = build_model(ModelConfig("resnet18", width, 3))
    for tensor in model.state_dict().values():
        tensor.fill_(value if tensor.is_floating_point() else 7 * value)
    model.label_set = label_set
    *before, recipe = trainings or [None]
    save_checkpoint(path, model, {"name": path.stem, "recipe": recipe, "began_with": before, **entries})
    return str(path)


def test_weights_and_statistics_are_means_and_the_last_card_knows_of_what(tmp_path):
    first = save(tmp_path / "1.safetensors", 1.0, TRAININGS[:1], looks={"camvid test": 5, "camvid val": 1})
    second = save(tmp_path / "2.safetensors", 2.0, TRAININGS[:2], looks={"camvid test": 2})
    third = save(tmp_path / "3.safetensors", 6.0, TRAININGS, metrics={"camvid_val": {"miou": 0.5}}, data="photos")
    model, card = mean_network([third, first, second])  # in whichever order
    for name, tensor in model.state_dict().items():
        expected = 3.0 if tensor.is_floating_point() else 42
        assert (tensor == expected).all(), name
    assert recipes_of(card) == (*TRAININGS[:2], {**TRAININGS[2], "mean_of": [1, 2, 3]})
    assert card["data"] == "photos" and card["looks"] == {"camvid test": 5, "camvid val": 1}
    assert "metrics" not in card


def test_what_has_no_mean_is_refused(tmp_path):
    first = save(tmp_path / "1.safetensors", 1.0, TRAININGS[:1])
    with pytest.raises(CheckpointError, match="give two or more"):
        mean_network([first])
    other_start = [{**TRAININGS[0], "seed": 4}, *TRAININGS[1:]]
    for trainings in (other_start, TRAININGS[:1], []):  # of another start; the same one twice; of which nothing is said
        other = save(tmp_path / "2.safetensors", 1.0, trainings)
        with pytest.raises(CheckpointError, match="not of one line of trainings"):
            mean_network([first, other])
    renamed = dataclasses.replace(CLASSES, class_names=("a", "b", "d"))
    for changed in ({"width": 16}, {"label_set": renamed}):
        other = save(tmp_path / "2.safetensors", 1.0, TRAININGS, **changed)
        with pytest.raises(CheckpointError, match="different networks or classes"):
            mean_network([first, other])


def test_a_mean_goes_on_as_one_of_its_line(tmp_path):
    parts = [save(tmp_path / f"{n}.safetensors", n, TRAININGS[:n]) for n in (1, 2)]
    model, card = mean_network(parts)
    save_checkpoint(tmp_path / "mean.safetensors", model, card)
    later = save(tmp_path / "later.safetensors", 3.5, [*recipes_of(card), TRAININGS[2]])
    model, card = mean_network([tmp_path / "mean.safetensors", later])
    assert model.context.gamma.item() == 2.5
    assert [recipe.get("mean_of") for recipe in recipes_of(card)] == [None, [1, 2], [2, 3]]


def test_the_command_writes_the_mean_under_its_own_name(tmp_path, capsys):
    parts = [save(tmp_path / f"{n}.safetensors", n, TRAININGS[:n]) for n in (1, 2)]
    assert average.main(["--out", str(tmp_path / "mean.safetensors"), *parts]) == 0
    assert "mean of the weights of 2 trainings" in capsys.readouterr().out
    model, card = load_checkpoint(tmp_path / "mean.safetensors")
    assert card["name"] == "mean" and model.context.gamma.item() == 1.5
    assert average.main(["--out", str(tmp_path / "mean.pt"), *parts]) == 1
    assert "give a file that ends in .safetensors" in capsys.readouterr().err
    assert average.main(["--out", str(tmp_path / "mean.safetensors"), parts[0], "nosuch"]) == 1
    assert "no checkpoint 'nosuch'" in capsys.readouterr().err
    assert read_card(tmp_path / "mean.safetensors")["name"] == "mean"
