"""Figures of attention files: rows and columns of heads, their titles and captions, and the same bytes again."""

import hashlib
import json

import numpy as np
import pytest

from analysis.capture import Layer, Layers, save_layers
from analysis.figures import (
    AttentionImage,
    Recipe,
    RecipeError,
    Row,
    attention_file,
    caption_text,
    heads_figure,
    main,
    open_captures,
    recipe_figure,
    recipe_from_json,
    recipe_to_json,
)
from analysis.figures.recipe import Look
from dnl.classes import CAMVID
from tests.analysis.figures.small import caption, panels, words

SIZE, CELLS = (40, 60), (4, 6)


def make_layers(heads=(0, 1, 2), **options) -> Layers:
    """Head h of layer l gives everything to cell 6·l + h; but itself to the next one."""
    maps = []
    for layer in range(2):
        target = np.zeros((len(heads), 24, 24), np.float32)
        for place, head in enumerate(heads):
            target[place, :, 6 * layer + head] = 1
        maps.append(target)
    rng = np.random.default_rng(0)
    known = {
        "image": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        "labels": np.kron([[0, 1]], np.ones((40, 30), int)).astype(np.uint8),
        "label_set": CAMVID,
        "name": "street",
    } | options
    names = ("blocks.0", "blocks.1")
    return Layers(
        tuple(
            Layer(name, CELLS, CELLS, heads, {"attention": own}, known) for name, own in zip(names, maps, strict=True)
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    save_layers(make_layers(), folder / "a.npz")
    return folder


def make_recipe(folder, rows, **parts) -> tuple[Recipe, list, dict]:
    recipe = Recipe((), tuple(rows), **{"columns": ("photo", "raw"), "look": Look(class_titles=True)} | parts)

    def refuse(*_):
        raise AssertionError("a model or an image was opened")

    def read(source):
        return attention_file(source, lambda path: (folder / path).read_bytes())

    return recipe, *open_captures(recipe, refuse, refuse, open_attention=read)


def lit(ax) -> list[tuple[int, int]]:
    return [tuple(place) for place in np.argwhere(ax.images[0].get_array() > 0)]


def test_rows_are_heads_of_layers_and_named_after_them(folder):
    rows = [
        Row(AttentionImage("a.npz", "blocks.0", 2), (5, 45)),
        Row(AttentionImage("a.npz", "blocks.1", 0), (5, 45)),
    ]
    recipe, captures, hashes = make_recipe(folder, rows)
    figure = recipe_figure(recipe, captures)
    maps = panels(figure)[1::2]
    assert [lit(ax) for ax in maps] == [[(0, 2)], [(1, 0)]]
    text = " ".join(words(figure))
    assert "Building · blocks.0.," not in text and "blocks.0, head 2" in text and "blocks.1, head 0" in text
    assert all("noise 1.00" in caption(figure, ax) for ax in maps)  # from Building's half to Sky's
    said = caption_text(recipe, captures, hashes)
    assert "Heads of the rows: 1 blocks.0, head 2; 2 blocks.1, head 0." in said
    digest = hashlib.sha256((folder / "a.npz").read_bytes()).hexdigest()
    assert hashes == {"a.npz": digest} and f"Attention file a.npz ({digest[:12]})" in said


def test_heads_have_columns_beside_the_photo(folder):
    rows = [Row(AttentionImage("a.npz", name), (5, 45)) for name in ("blocks.0", "blocks.1")]
    recipe, captures, hashes = make_recipe(folder, rows, columns=("photo",), heads=(0, 2, "mean"))
    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    figure = recipe_figure(recipe, captures)
    drawn = panels(figure)
    assert len(drawn) == 8
    assert [lit(ax) for ax in drawn[1:4]] == [[(0, 0)], [(0, 2)], [(0, 0), (0, 1), (0, 2)]]
    assert [lit(ax) for ax in drawn[5:7]] == [[(1, 0)], [(1, 2)]]
    assert {"head 0", "head 2", "mean of heads"} <= set(words(figure))
    said = caption_text(recipe, captures, hashes)
    assert "Layers of the rows: 1 blocks.0; 2 blocks.1." in said and "Maps: head 0 (softmax), head 2" in said


def test_python_draws_all_heads_of_all_layers():
    figure = heads_figure(make_layers(), (5, 45))
    assert [lit(ax) for ax in panels(figure)[1:4]] == [[(0, 0)], [(0, 1)], [(0, 2)]]
    assert len(panels(figure)) == 8 and {"blocks.0", "head 1"} <= set(words(figure))
    assert figure.facts["heads"] == [0, 1, 2] and figure.facts["layers"] == ["blocks.0", "blocks.1"]
    with pytest.raises(ValueError, match="head is 7"):
        heads_figure(make_layers(), (5, 45), heads=[7])


def test_signed_heads_are_drawn_without_noise():
    layers = make_layers(signed=True)
    layers.layers[0].arrays["attention"][1, :, 3] = -0.5
    figure = heads_figure(layers.chosen("blocks.0"), (5, 45))
    captions = [caption(figure, ax) for ax in panels(figure)[1:]]
    assert "noise" in captions[0] and captions[1] == "" and "noise" in captions[2]


def test_the_command_makes_the_same_bytes_again_and_knows_another_file(folder, tmp_path, capsys):
    digest = hashlib.sha256((folder / "a.npz").read_bytes()).hexdigest()
    image = {"source": "attention", "path": "a.npz", "layer": "blocks.0", "head": 1, "sha256": digest}
    values = {"checkpoints": [], "rows": [{"image": image, "pixel": [5, 45]}], "columns": ["photo", "raw"]}
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(values))
    outs = [tmp_path / "one.png", tmp_path / "two.png"]
    assert [main([str(recipe), str(out)]) for out in outs] == [0, 0]
    assert outs[0].read_bytes() == outs[1].read_bytes() and digest.encode() in outs[0].read_bytes()
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    save_layers(make_layers(name="other"), tmp_path / "a.npz")
    assert main([str(tmp_path / "recipe.json"), str(outs[0])]) == 1
    assert "rows[0].image: its SHA-256 is" in capsys.readouterr().err


def test_what_does_not_fit_is_refused(folder):
    row = Row(AttentionImage("a.npz", "blocks.0"), (5, 45))
    with pytest.raises(RecipeError, match=r"rows\[0\]\.image: .*there is no layer 'x'"):
        make_recipe(folder, [Row(AttentionImage("a.npz", "x"), (5, 45))])
    with pytest.raises(RecipeError, match=r"rows\[0\]\.image: head is 9"):
        make_recipe(folder, [row], heads=(9,))
    with pytest.raises(ValueError, match="is of no attention file"):
        recipe_from_json('{"checkpoints": [{"name": "a"}], "heads": [1], "rows": [{"image": {"source": "street", '
                         '"index": 0}, "pixel": [1, 1]}]}')  # fmt: skip
    with pytest.raises(RecipeError, match="checkpoints is empty"):
        recipe_from_json('{"checkpoints": [], "rows": [{"image": {"source": "street", "index": 0}, "pixel": [1, 1]}]}')
    with pytest.raises(RecipeError, match=r"heads"):
        recipe_from_json('{"checkpoints": [], "heads": [true], "rows": []}')
