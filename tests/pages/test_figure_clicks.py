"""What a click on the preview of a figure does to its rows."""

import dataclasses

import pytest

from analysis.figures import Annotation, Row, StreetImage
from analysis.figures.annotations import MAX_ANNOTATIONS, check_annotations
from pages.parts.figures.annotations import REACH, clicked

LIKE = Annotation("text", (0, 0), None, "", "maps", "yellow")
ROWS = [Row(StreetImage(0), (1, 2)), Row(StreetImage(1), (3, 4), annotations=(Annotation("text", (5, 6), text="A"),))]


def drag(row=0, begun=(40, 50), ended=(90, 60)) -> dict:
    return {"row": row, "from": list(begun), "to": list(ended)}


def test_it_picks_the_pixel_of_its_row():
    assert clicked(ROWS, drag(1), "pixel", LIKE) == [ROWS[0], dataclasses.replace(ROWS[1], pixel=(90, 60))]


def test_an_arrow_is_drawn_from_its_tail_to_its_tip_and_a_box_between_corners():
    (arrow,) = clicked(ROWS, drag(), "arrow", LIKE)[0].annotations
    assert arrow == Annotation("arrow", (90, 60), (40, 50), "", "maps", "yellow")
    (box,) = clicked(ROWS, drag(), "box", LIKE)[0].annotations
    assert (box.at, box.to) == ((90, 60), (40, 50))


@pytest.mark.parametrize("place", [(0, 0), (3, 200), (90, 60)])
def test_a_click_alone_places_them_too(place):
    (arrow,) = clicked(ROWS, drag(begun=place, ended=place), "arrow", LIKE)[0].annotations
    assert arrow.at == place and max(abs(a - b) for a, b in zip(arrow.at, arrow.to, strict=True)) == REACH
    (box,) = clicked(ROWS, drag(begun=place, ended=place), "box", LIKE)[0].annotations
    for side in range(2):
        assert min(box.at[side], box.to[side]) <= place[side] <= max(box.at[side], box.to[side])
    check_annotations([arrow, box], "annotations")


def test_a_text_is_the_one_chosen_or_the_next_letter():
    text = clicked(ROWS, drag(), "text", LIKE)[0].annotations
    assert text == (Annotation("text", (90, 60), None, "B", "maps", "yellow"),)  # the other row has A
    typed = Annotation("text", (0, 0), text="kerb")
    assert clicked(ROWS, drag(1), "text", typed)[1].annotations[1].text == "kerb"


def test_nothing_comes_of_a_click_on_a_row_that_has_gone_or_is_full():
    assert clicked(ROWS, drag(2), "arrow", LIKE) == ROWS
    full = [Row(StreetImage(0), (1, 2), annotations=ROWS[1].annotations * MAX_ANNOTATIONS)]
    assert clicked(full, drag(), "arrow", LIKE) == full
