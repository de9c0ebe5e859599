"""What the Figures page takes over from the Explorer: its pins as rows, how maps are computed and coloured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis.figures import MAX_ROWS, Attention, Colormap, ImageSource, Outline, Row, Scale
from analysis.lens import known_pins
from analysis.pins.measured import PinnedPixels
from dnl import list_checkpoints
from pages.parts.app.session import lens_report
from pages.parts.figures.choices import (
    exchange_column,
    say_left_out,
    show_attention,
    show_checkpoint,
    show_class_titles,
    show_colours,
    show_rows,
    show_scale,
)
from pages.parts.figures.sources import source_at
from pages.parts.subjects.places import Place, seen_places


@dataclass(frozen=True)
class PinnedFigure:
    """The Explorer's view, as far as a recipe can express it.

    models: names of the checkpoints that are shown; none where `files` are, heads of attention files. image, pixels:
    what is pinned, (y, x) each.
    labelled: whether the image has labels. own: how each model's maps are computed, where they differ.
    """

    models: tuple[str, ...]
    image: ImageSource
    pixels: tuple[tuple[int, int], ...]
    attention: Attention
    scale: Scale
    colormap: Colormap
    outline: Outline
    labelled: bool
    own: Mapping[str, Attention] = field(default_factory=dict)
    files: tuple[ImageSource, ...] = ()


def pinned_figure(
    views: Sequence[PinnedPixels],
    place: Place | None,
    scale: Scale,
    colormap: Colormap,
    *,
    outlined: bool,
    files: Sequence[ImageSource | None] = (),
) -> PinnedFigure | None:
    """The figure of an Explorer's view; None where the Figures page cannot open its model or image.

    views: one a model, of the same pixels. place: where the image comes from; None for an attention file. outlined:
    whether the query's class is outlined. files: how a recipe names the attention file and head of each view.
    """
    named = tuple(file for file in files if file is not None)
    if files and (len(named) < len(files) or None in views[0].pixels):
        return None
    image, names = (named[0] if files else source_at(place)), [view.source.name for view in views]
    if image is None or not (files or set(names) <= set(list_checkpoints())):
        return None
    attention, own = shared_attention(views), {}
    if attention is None:
        attention = Attention()
        own = {view.source.name: Attention(**view.options.as_dict()) for view in views if not files}
    labelled = views[0].capture.labels is not None
    outline: Outline = "none" if not outlined else "true" if labelled else "predicted"
    models = () if files else tuple(names)
    pixels = views[0].pixels
    return PinnedFigure(models, image, pixels, attention, scale, colormap, outline, labelled, own, named)


def shared_attention(views: Sequence[PinnedPixels]) -> Attention | None:
    """How the maps of all views are computed, each model's own where that is so; None where no recipe can say it."""
    fields = {}
    for name in ("gate", "lr_kernel", "lr_weights"):
        chosen = [getattr(view.options, name) for view in views]
        if chosen == [getattr(view.capture, name) for view in views]:
            fields[name] = "model"
        elif len(set(chosen)) == 1:
            fields[name] = chosen[0]
        else:
            return None
    return Attention(**fields, temperature=views[0].options.temperature)


def pins_of(figure: PinnedFigure) -> list[tuple[ImageSource, tuple[int, int]]]:
    """The pins that can be rows of a figure: those of attention files, or else those on every image known here."""
    return [(figure.image, pixel) for pixel in figure.pixels] if figure.files else pinned_pixels()


def pinned_pixels() -> list[tuple[ImageSource, tuple[int, int]]]:
    """The Explorer's pins on every image that is known here: (image, pixel)."""
    places = seen_places()
    return [
        (source, pixel)
        for image, pixels in known_pins(lens_report("pins")).items()
        if (source := source_at(places.get(image))) is not None
        for pixel in pixels
    ]


def show_pinned(figure: PinnedFigure, pixels: Sequence[tuple[ImageSource, tuple[int, int]]]) -> None:
    """Make the Figures page's choices those of the Explorer, with one row for each pixel and model.

    Of what the Explorer has no choice of, such as the page's width, all stays as it is.
    """
    several = len(figure.models) > 1
    rows = [
        Row(image, pixel, "", name if several else None, figure.own.get(name))
        for image, pixel in pixels
        for name in figure.models
    ]
    rows = rows or [Row(file, pixel) for _, pixel in pixels for file in figure.files]
    if figure.models:
        show_checkpoint(figure.models[0])
    show_rows(rows[:MAX_ROWS])
    show_attention(figure.attention)
    show_scale(figure.scale)
    show_colours(figure.colormap, figure.outline)
    show_class_titles()
    if not figure.labelled:
        exchange_column("labels", "prediction")
    too_many = f"A figure has {MAX_ROWS} rows: {len(rows) - MAX_ROWS} more were left out."
    say_left_out(too_many if len(rows) > MAX_ROWS else "")
