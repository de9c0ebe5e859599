import dnl
from analysis.figures import FigureModel, caption_text, file_image, open_captures
from analysis.figures.recipe import recipe_from_json, recipe_hash


def test_the_caption_says_what_is_drawn(folder):
    recipe = recipe_from_json((folder / "recipe.json").read_bytes())
    model = FigureModel(dnl.load_checkpoint("small")[0], "ab" * 32)

    def open_image(source, label_set):
        return file_image(source, lambda path: (folder / path).read_bytes(), label_set)

    captures, hashes = open_captures(recipe, lambda name: model, open_image)
    text = caption_text(recipe, captures, hashes)
    for part in (
        "2 pixels in photo.png",
        "raw (softmax), retained (LR 3×3)",
        "retained − rectified",
        "multiples of an even spread",
        "λ over chance",
        f"small (abababababab), recipe {recipe_hash(recipe)[:12]}",
    ):
        assert part in text
    assert "prediction" not in text
