import io
import json

import pytest
from PIL import Image

import dnl
from analysis.figures import FigureModel, file_image, open_captures
from analysis.figures.reading import OtherFileError, RecipeError
from analysis.figures.recipe import FileImage, StreetImage, recipe_from_json
from analysis.figures.sources import require_hash, street_image
from dnl.classes import CAMVID
from tests.analysis.figures.small import VALUES


def test_each_image_is_captured_once_by_each_checkpoint(folder):
    values = VALUES | {"checkpoints": [{"name": "small"}, {"name": "twin"}]}
    values["rows"] = [*VALUES["rows"], {**VALUES["rows"][0], "checkpoint": "twin"}]
    recipe = recipe_from_json(json.dumps(values))
    model = FigureModel(dnl.load_checkpoint("small")[0], "ab" * 32)
    seen = []

    def capture(name, picture):
        seen.append((name, picture))
        return picture.name + name

    def open_image(source, label_set):
        return file_image(source, lambda path: (folder / path).read_bytes(), label_set)

    captures, hashes = open_captures(recipe, lambda name: model, open_image, capture)
    assert captures == ["photo.pngsmall", "photo.pngsmall", "photo.pngtwin"] and len(seen) == 2
    assert hashes == {"small": "ab" * 32, "twin": "ab" * 32}


def test_opening_is_left_to_the_caller(folder):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())

    def refuse(source, label_set):
        raise RecipeError("this may not be opened here")

    with pytest.raises(RecipeError, match=r"rows\[0\].image: this may not be opened here"):
        open_captures(recipe, lambda name: FigureModel(dnl.load_checkpoint("small")[0], ""), refuse)


def test_a_street_of_the_gallery_by_its_index():
    street = street_image(StreetImage(2), CAMVID)
    assert street.name == "Street 3" and street.image.shape[:2] == street.labels.shape
    with pytest.raises(RecipeError, match="index is 12; the gallery's streets are 0 … 11"):
        street_image(StreetImage(12), CAMVID)


def test_labels_that_may_lie_on_the_photo_as_it_is_stored_are_warned_of():
    exif, files = Image.Exif(), {"photo.jpg": io.BytesIO(), "labels.png": io.BytesIO()}
    exif[0x0112] = 6
    Image.new("RGB", (40, 40)).save(files["photo.jpg"], "JPEG", exif=exif)
    Image.new("L", (40, 40)).save(files["labels.png"], "PNG")
    source = FileImage("photo.jpg", "labels.png")
    with pytest.warns(UserWarning, match="turned by its EXIF orientation 6, its label image as it is stored"):
        file_image(source, lambda path: files[path].getvalue(), CAMVID)


def test_a_hash_is_compared_whatever_its_letters():
    require_hash("ab12", None)
    require_hash("ab12", "AB12")
    with pytest.raises(OtherFileError, match="its SHA-256 is ab12… but the recipe was made with cd34…"):
        require_hash("ab12", "cd34")
