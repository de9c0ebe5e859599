import re
from pathlib import Path

import dnl
from analysis.figures import BIBTEX, FigureModel, caption_text, file_image, open_captures
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


def test_the_citation_is_that_of_the_file():
    """Every value of CITATION.cff that BibTeX has a field for stands in it, and both titles, authors and years."""
    text = (Path(__file__).parents[3] / "CITATION.cff").read_text(encoding="utf-8")
    values = dict(re.findall(r'^ *(?:- )?([a-z-]+): "?([^"\n]+)"?$', text, re.MULTILINE))
    for name in ("title", "journal", "url", "version", "license", "name"):
        assert f"{{{values[name]}}}" in BIBTEX.replace("{{", "{").replace("}}", "}"), name
    titles = re.findall(r'title: "([^"]+)"', text)
    assert len(titles) == 2 and all(title in BIBTEX for title in titles)
    assert re.findall(r"year = \{(\d+)\}", BIBTEX) == [values["date-released"][:4], values["year"]]
    names = zip(re.findall(r"family-names: (\w+)", text), re.findall(r"given-names: (\w+)", text), strict=True)
    assert " and ".join(f"{family}, {given}" for family, given in names) in BIBTEX
