"""The label sets against rules and facts from outside the tables."""

import numpy as np
import pytest

from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet


@pytest.mark.parametrize(("label_set", "classes"), [(CAMVID, 11), (CITYSCAPES, 19), (VOC, 21), (ADE20K, 150)])
def test_number_of_classes_and_unique_names(label_set, classes):
    assert label_set.num_classes == len(set(label_set.class_names)) == classes
    assert all(len(colour) == 3 and all(0 <= part <= 255 for part in colour) for colour in label_set.palette)


def test_voc_palette_follows_the_benchmarks_rule():
    """Bits 0, 1, 2 of the index go to the top bits of red, green, blue; bits 3, 4, 5 to the next ones."""
    for index, colour in enumerate(VOC.palette):
        for channel in range(3):
            assert colour[channel] == (index >> channel & 1) << 7 | (index >> channel + 3 & 1) << 6


def test_ade20k_shares_one_colour_between_road_and_skyscraper_alone():
    assert len(set(ADE20K.palette)) == 149
    colour_of = dict(zip(ADE20K.class_names, ADE20K.palette, strict=True))
    assert colour_of["road"] == colour_of["skyscraper"] == (140, 140, 140)


def test_places_of_well_known_classes():
    assert [CITYSCAPES.class_names[index] for index in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
    assert [VOC.class_names[index] for index in (0, 15, 20)] == ["background", "person", "tvmonitor"]
    names = [ADE20K.class_names[index] for index in (0, 2, 6, 12, 20, 75, 136, 149)]
    assert names == ["wall", "sky", "road", "person", "car", "swivel chair", "traffic light", "flag"]


def test_ignored_pixels_are_painted_black():
    painted = CITYSCAPES.colour(np.array([[0, 18, 255]], np.uint8))
    assert painted.tolist() == [[[128, 64, 128], [119, 11, 32], [0, 0, 0]]]


def test_an_ignore_index_that_is_a_class_is_refused():
    with pytest.raises(ValueError, match="ignore index 1 is also the index of class 'b'"):
        LabelSet("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)), ignore_index=1)
