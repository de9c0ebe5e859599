"""What label images hold, by which coding they are read, and what is asked."""

import numpy as np
import pytest
from PIL import Image

from dnl.classes import ADE20K, CAMVID, CITYSCAPES, VOC, LabelSet
from dnl.codings import (
    CodingError,
    CodingQuestion,
    LabelPixels,
    codings_of,
    content_of,
    decode,
    looks_blended,
    recognise,
    same_classes,
    together,
)
from dnl.datasets import Streets

TWO = LabelSet("two", ("ground", "thing"), ((0, 0, 0), (255, 0, 0)), 255)
LEAF = LabelSet("plants", ("leaf", "soil"), ((0, 160, 60), (120, 80, 40)), 255)
BLACK_WHITE = LabelSet("mask", ("ground", "thing"), ((0, 0, 0), (255, 255, 255)), 255)
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128, 128, 128, 128]


def read(values, label_set, palette=None, **options):
    """Class indices as a list, and the words of the coding."""
    picture = Image.fromarray(np.array(values, np.uint16 if np.max(values) > 255 else np.uint8))
    if palette is not None:
        picture.putpalette(palette)
    label = LabelPixels.of(picture)
    reading = recognise(together([content_of(label)]).of_kind, label_set, **options)
    return decode(label, reading).tolist(), reading.words


# --- values ----------------------------------------------------------------------------------------------------------


def test_class_indices_with_both_ignore_values():
    assert read([[0, 10, 11, 255]], CAMVID) == ([[0, 10, 11, 11]], "class indices")


@pytest.mark.parametrize("label_set", [TWO, LEAF, CAMVID, VOC, CITYSCAPES, ADE20K])
def test_a_mask_of_0_and_255_is_never_class_and_ignored(label_set):
    with pytest.raises(CodingQuestion, match=r"^0 and 255 only, and 255 means ignored: save the object as 1"):
        read([[0, 255]], label_set)


def test_a_mask_may_be_named_or_shown_by_the_classes_colours():
    assert read([[0, 255]], TWO, coding="mask") == ([[0, 1]], "a mask, 255 = thing")
    assert read([[0, 255]], TWO, coding="indices")[0] == [[0, 255]]
    assert read([[0, 255]], BLACK_WHITE)[0] == [[0, 1]]
    assert read([[0, 1, 255]], TWO)[0] == [[0, 1, 255]]
    one = LabelSet("one", ("thing",), ((9, 9, 9),), 255)
    assert read([[0, 255]], one)[0] == [[0, 255]]


def test_ade20k_annotations_and_indices():
    assert read([[0, 1, 13, 150]], ADE20K) == ([[255, 0, 12, 149]], "ADE20K annotation, 0 = other")
    assert read([[0, 1, 12, 255]], ADE20K) == ([[0, 1, 12, 255]], "class indices")
    with pytest.raises(
        CodingQuestion, match=r'values 0, 1, 13, which may be .*: name the coding "indices" or "anno'
    ) as e:
        read([[0, 1, 13]], ADE20K)
    assert [coding.key for coding in e.value.choices] == ["indices", "annotation"]
    for options in ({"coding": "annotation"}, {"expected": "annotation"}):
        assert read([[0, 1, 13]], ADE20K, **options)[0] == [[255, 0, 12]]
    with pytest.raises(CodingError, match=r'255, .* may be class indices: name the coding "indices"'):
        read([[0, 1, 255]], ADE20K, expected="annotation")


def test_ade20k_by_its_palette():
    shown = [0, 0, 0, *np.ravel(ADE20K.palette)]
    assert read([[0, 1, 13]], ADE20K, shown)[0] == [[255, 0, 12]]
    assert read([[0, 1, 13]], ADE20K, shown[3:])[0] == [[0, 1, 13]]


def test_cityscapes_label_ids_train_ids_and_instance_ids():
    assert read([[7, 8, 26, 4]], CITYSCAPES) == ([[0, 1, 13, 255]], "Cityscapes label ids")
    assert read([[7, 0, 255]], CITYSCAPES) == ([[7, 0, 255]], "class indices (train ids)")
    assert read([[7, 26002, 24000]], CITYSCAPES) == ([[0, 13, 11]], "Cityscapes instance ids")
    with pytest.raises(CodingQuestion, match='name the coding "indices" or "label-ids"'):
        read([[7, 8, 11]], CITYSCAPES)


def test_train_ids_under_the_name_of_label_ids_are_said():
    for values in ([[0, 1, 2, 7]], [[7, 8, 255]]):
        with pytest.raises(CodingQuestion, match=r"fit class indices \(train ids\) better than Cityscapes label"):
            read(values, CITYSCAPES, expected="label-ids")
        assert read(values, CITYSCAPES, expected="label-ids", coding="indices")[0] == values
    assert read([[7, 8, 11, 1]], CITYSCAPES, expected="label-ids")[0] == [[0, 1, 2, 255]]


def test_camvid_of_32_classes():
    colours = [[[0, 0, 192], [192, 0, 64], [0, 0, 0], [128, 64, 128], [64, 192, 0], [192, 0, 192]]]
    assert read(colours, CAMVID) == ([[4, 3, 11, 3, 1, 10]], "CamVid's official colours, 32 classes")
    with pytest.raises(CodingError, match=r'values 17, 21, .* 11 or 255 for none\); they may be .* "32-indices"'):
        read([[17, 21]], CAMVID)
    assert read([[17, 21, 30, 0]], CAMVID, coding="32-indices")[0] == [[3, 0, 11, 9]]


def test_every_official_colour_of_camvid_is_a_class_or_none():
    official = next(coding for coding in codings_of(CAMVID) if coding.key == "official-colours").colours
    assert len(official) == 34 and set(official.values()) == set(range(12))
    agreeing = [colour for colour in CAMVID.palette if official[colour] == CAMVID.palette.index(colour)]
    assert len(agreeing) == 11


def test_indices_from_1_are_asked():
    with pytest.raises(CodingError, match=r'value 2, which is no class of plants .*: name the coding "one-based"'):
        read([[0, 1, 2]], LEAF)
    assert read([[0, 1, 2]], LEAF, coding="one-based")[0] == [[255, 0, 1]]


def test_values_that_nothing_knows():
    with pytest.raises(CodingError, match=r"values 12, 200, which are no class of camvid \(0 … 10; 11 or 255"):
        read([[3, 12, 200]], CAMVID, coding="indices")
    with pytest.raises(CodingError, match="smooth borders or a photo"):
        read([list(range(0, 256, 5))], LEAF)
    with pytest.raises(CodingError, match="the value 3000"):
        read([[3000]], VOC)


@pytest.mark.parametrize("key", ["raw", "", "Indices"])
def test_unknown_keys(key):
    with pytest.raises(ValueError, match="choose one of indices, colours"):
        read([[0, 1]], LEAF, coding=key)


def test_a_named_coding_must_fit():
    with pytest.raises(CodingError, match=r'26, .* may be Cityscapes label ids: name the coding "label-ids"$'):
        read([[0, 26]], CITYSCAPES, coding="indices")


# --- colours ---------------------------------------------------------------------------------------------------------


def test_colours_of_the_palette_and_black():
    assert read([[[0, 160, 60], [120, 80, 40], [0, 0, 0]]], LEAF) == ([[0, 1, 255]], "the colours of plants")
    assert read([[[0, 0, 0], [255, 0, 0]]], TWO)[0] == [[0, 1]]


def test_colour_images_of_equal_channels_may_hold_indices():
    assert read([[[0, 0, 0], [1, 1, 1]]], LEAF) == ([[0, 1]], "class indices")
    with pytest.raises(CodingQuestion, match="0 and 255 only"):
        read([[[0, 0, 0], [255, 255, 255]]], LEAF)
    with pytest.raises(CodingError, match='may be indices from 1, 0 = none: name the coding "one-based"'):
        read([[[0, 0, 0], [2, 2, 2]]], LEAF)


def test_borders_and_void_of_public_data_sets():
    assert read([[[224, 224, 192], [0, 0, 0], [128, 0, 0]]], VOC)[0] == [[255, 0, 1]]
    assert read([[[111, 74, 0], [128, 64, 128], [0, 0, 90]]], CITYSCAPES)[0] == [[255, 0, 255]]


def test_colours_that_mean_nothing_or_two_classes():
    with pytest.raises(CodingError, match=r"the colour \(1, 2, 3\), which is no class of plants: use its colours"):
        read([[[1, 2, 3]]], LEAF)
    with pytest.raises(CodingError, match=r"\(140, 140, 140\), which ade20k has for road and for skyscraper"):
        read([[[140, 140, 140], [120, 120, 120]]], ADE20K)
    with pytest.raises(ValueError, match="more than 1024 colours"):
        content_of(LabelPixels.of(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))))


# --- palettes --------------------------------------------------------------------------------------------------------


def test_a_palette_of_other_colours_or_of_the_same_leaves_the_indices():
    assert read([[0, 1]], LEAF, [7, 8, 9, 10, 11, 12])[1] == "class indices"
    assert read([[0, 1]], LEAF, [0, 160, 60, 120, 80, 40])[1] == "class indices"
    assert read([[0, 1, 2]], VOC, VOC_PALETTE)[1] == "class indices"


def test_a_palette_that_shows_other_classes_counts_by_its_colours():
    assert read([[0, 1]], LEAF, [120, 80, 40, 0, 160, 60]) == ([[1, 0]], "the colours of plants")
    assert read([[0, 1, 2]], LEAF, [0, 0, 0, 0, 160, 60, 120, 80, 40])[0] == [[255, 0, 1]]


def test_a_palette_that_shows_another_class_in_part_is_asked():
    with pytest.raises(CodingQuestion, match="the value 1 in the colour of leaf, where 1 is soil by class indices"):
        read([[0, 1]], LEAF, [9, 9, 9, 0, 160, 60])
    assert read([[0, 1]], LEAF, [9, 9, 9, 0, 160, 60], coding="indices")[0] == [[0, 1]]


def test_the_palette_that_tools_give_to_all_files_says_little():
    assert read([[0, 2, 7]], CAMVID, VOC_PALETTE) == ([[0, 2, 7]], "class indices")  # one of its greens is no class
    with pytest.raises(CodingQuestion, match="values 0, 3, 7, which may be class indices or the colours of camvid"):
        read([[0, 3, 7]], CAMVID, VOC_PALETTE)


def test_values_beyond_the_end_of_a_palette_have_no_colour():
    picture = Image.fromarray(np.array([[0, 1, 9]], np.uint8))
    picture.putpalette([0, 160, 60, 120, 80, 40])
    label = LabelPixels.of(picture)._replace(palette=np.array([[0, 160, 60], [120, 80, 40]], np.uint8))
    with pytest.raises(CodingError, match="the value 9, which is no class"):
        recognise(together([content_of(label)]).of_kind, LEAF)


# --- several files ---------------------------------------------------------------------------------------------------


def contents(*values):
    return [content_of(LabelPixels.of(Image.fromarray(np.array(part, np.uint8)))) for part in values]


def test_files_together_answer_what_one_leaves_open():
    many = together(contents([[0, 255]], [[1, 255]]))
    assert recognise(many.of_kind, TWO).words == "class indices"
    assert many.of_kind["grey"].counts == {0: 1, 1: 1, 255: 2}
    with pytest.raises(CodingQuestion):
        recognise(together(contents([[0, 255]], [[0, 0]])).of_kind, TWO)


def test_each_kind_has_its_own_coding():
    reading = recognise(together(contents([[0, 1]], [[[0, 160, 60], [0, 0, 0]]])).of_kind, LEAF)
    assert reading.words == "class indices and the colours of plants"


def test_other_spellings_of_public_classes():
    spelt = LabelSet("mine", tuple(f"{name.upper()}, etc" for name in ADE20K.class_names), ADE20K.palette, 255)
    assert same_classes(spelt, ADE20K) and not same_classes(VOC, ADE20K)
    others = LabelSet("mine", tuple(map(str, range(150))), ADE20K.palette, 255)
    assert "annotation" not in [coding.key for coding in codings_of(others)]


@pytest.mark.parametrize("label_set", [TWO, LEAF, CAMVID, VOC, CITYSCAPES, ADE20K])
def test_codings_have_distinct_keys_and_legal_classes(label_set):
    codings = codings_of(label_set)
    assert [coding.key for coding in codings[:2]] == ["indices", "colours"]
    assert len({coding.key for coding in codings}) == len(codings)
    for coding in codings:
        assert (coding.values is None) != (coding.colours is None)
        legal = {*range(label_set.num_classes), label_set.ignore_index}
        assert set((coding.values or coding.colours).values()) <= legal


# --- blending --------------------------------------------------------------------------------------------------------


def areas(values, side=8):
    return np.repeat(np.repeat(np.array(values, np.uint8), side, axis=0), side, axis=1)


SMOOTH = ("BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")


def resized(labels, scale, way):
    size = (round(labels.shape[1] * scale), round(labels.shape[0] * scale))
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling[way]))


@pytest.fixture(scope="module")
def streets():
    return [Streets("gallery")[index].labels.astype(np.uint8) for index in (0, 4)]


@pytest.mark.parametrize("scale", [0.125, 0.25, 1 / 3, 0.5, 0.75])
@pytest.mark.parametrize("way", SMOOTH)
def test_labels_that_were_made_smaller_smoothly_show(way, scale, streets):
    assert all(looks_blended(*contents(resized(labels, scale, way))) for labels in streets)


@pytest.mark.parametrize("scale", [0.9, 1.1, 1.5, 3])
@pytest.mark.parametrize("way", SMOOTH[1:])  # a box that makes nothing smaller is the nearest neighbour
def test_labels_that_were_made_larger_smoothly_show(way, scale, streets):
    assert all(looks_blended(*contents(resized(labels, scale, way))) for labels in streets)


@pytest.mark.parametrize("scale", [0.125, 0.25, 0.5, 0.9, 1, 1.5, 3])
def test_true_labels_and_those_of_the_nearest_neighbour_do_not(scale, streets):
    assert not any(looks_blended(*contents(resized(labels, scale, "NEAREST"))) for labels in streets)


@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("size", [(30, 30), (90, 70)])
def test_smooth_resizing_shows(way, size):
    labels = areas(np.random.default_rng(0).integers(0, 5, (6, 6)) * 4)
    smooth = np.asarray(Image.fromarray(labels).resize(size, way))
    nearest = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    assert looks_blended(*contents(smooth))
    assert not looks_blended(*contents(nearest)) and not looks_blended(*contents(labels))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_smooth_resizing_shows_whatever_the_values_are_stored_in(mode):
    labels = Image.fromarray(areas(np.random.default_rng(0).integers(0, 5, (6, 7)) * 4))
    for way, blended in ((Image.Resampling.BILINEAR, True), (Image.Resampling.NEAREST, False)):
        stored = labels.resize((90, 70), way).convert(mode)
        assert looks_blended(content_of(LabelPixels.of(stored))) == blended


def test_colours_have_no_values_between_others():
    colours = np.array([[[0, 0, 9]] * 8 + [[1, 0, 9]] + [[2, 0, 9]] * 8] * 40, np.uint8)
    assert not looks_blended(content_of(LabelPixels.of(Image.fromarray(colours))))
    assert looks_blended(content_of(LabelPixels.of(Image.fromarray(colours[..., [0, 0, 0]]))))


def test_thin_things_are_no_blending():
    labels = areas([[0, 4], [8, 4]])
    labels[:, 5] = 2  # a pole, with the same area on both sides
    assert not looks_blended(*contents(labels))
