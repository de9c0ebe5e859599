"""The Explorer's pinned pixels: a table of their figures, their maps side by side, and a chart."""

import base64
import html
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
import streamlit as st
from matplotlib.colors import Normalize
from PIL import Image, ImageDraw

from analysis.charts.pins import pins_figure
from analysis.figures import FACTORS, MapScale, Scale, bar_labels, map_scale, shares
from analysis.lens import PIN_COLOURS
from analysis.lens.start import LEAST_MENDED
from analysis.options import own_stages
from analysis.pins.measured import PinnedPixels
from analysis.words import DEFINITIONS, LACKING_WORDS, METRIC_WORDS, PIN_WORDS, STAGE_WORDS

# Figures of the table, with their digits.
DIGITS = {
    "interclass_noise": 3,
    "chance": 3,
    "times_chance": 2,
    "intraclass_noise": 3,
    "hollow_fraction": 3,
    "kept_mass": 3,
    "effective_keys": 1,
}
CHARTED = ("interclass_noise", "intraclass_noise", "hollow_fraction", "kept_mass", "effective_keys")
PHOTO_WIDTH = 360  # pixels of the small multiples' photos
STYLE = """<style>
.pins { overflow-x: auto; max-width: 100%; }
.pins table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
.pins th, .pins td { padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap; border: 0; }
.pins thead th { font-weight: 600; vertical-align: bottom; white-space: normal; opacity: 0.8; }
.pins th[scope=rowgroup], .pins th[scope=row], .pins thead th.words { text-align: left; font-weight: 500; }
.pins tbody { border-top: 1px solid color-mix(in srgb, currentColor 22%, transparent); }
.pins tbody tr + tr { border-top: 1px solid color-mix(in srgb, currentColor 8%, transparent); }
.pins .noise { font-weight: 600; }
.pins .number { display: inline-block; min-width: 1.35em; padding: 0 0.3em; margin-right: 0.5em; border-radius: 0.7em;
  text-align: center; font-weight: 700; line-height: 1.35; }
.pins small { display: block; opacity: 0.7; font-weight: 400; }
.pins abbr { text-decoration: underline dotted; text-underline-offset: 0.2em; cursor: help; }
.pins .maps { display: grid; gap: 0.5rem; min-width: 36rem; }
.pins .maps > * { margin: 0; min-width: 0; }
.pins .maps img { width: 100%; display: block; border-radius: 4px; }
.pins .maps .map { image-rendering: pixelated; outline: 1px solid color-mix(in srgb, currentColor 20%, transparent); }
.pins .maps figcaption { font-size: 0.8rem; margin-top: 0.15rem; font-variant-numeric: tabular-nums; }
.pins .bar { display: flex; align-items: center; gap: 0.5rem; font-size: 0.8rem; margin-top: 0.7rem; flex-wrap: wrap; }
.pins .bar img { height: 0.8rem; width: min(16rem, 40vw); border-radius: 3px; }
</style>"""


def show_pins(views: Sequence[PinnedPixels], scale: Scale, colormap: str, *, pinned: bool) -> None:
    """The section below the lens. views: one a model, of the same pixels. pinned: whether the user has chosen them."""
    count = len(views[0].pixels)
    st.subheader(f"{count} pinned pixels" if count > 1 else "The pinned pixel" if pinned else "The pixel shown")
    if not pinned:
        words = "Click a pixel in the lens to pin it: up to eight stay here side by side, numbered as in the lens."
        if _is_mended(views[0]):
            words += " This one was chosen for its noise and for what GR and LR mend of it: it is no typical one."
        st.caption(words)
    flattered = [view for view in views if view.measured_against == "prediction"]
    if flattered:
        st.warning(
            "There are no labels for this image: everything is measured against the model's own prediction, which "
            "flatters it.",
            icon=":material/info:",
        )
    _show_tabs(views, scale, colormap, pinned=pinned)


@st.fragment
def _show_tabs(views: Sequence[PinnedPixels], scale: Scale, colormap: str, *, pinned: bool) -> None:
    numbers, maps, chart = st.tabs(["Figures", "Maps", "Chart"], key="pins tabs", on_change="rerun")
    if maps.open:
        maps.html(maps_table(views, scale, colormap, pinned=pinned))
    elif not views[0].metrics:
        with chart if chart.open else numbers:
            _say_no_classes()
    elif chart.open:
        with chart:
            _show_chart(views)
    else:
        with numbers:
            st.html(figures_table(views, pinned=pinned))
            _say_missing(views)
            with st.popover("What the figures mean", icon=":material/help:"):
                st.markdown(DEFINITIONS)


def _is_mended(view: PinnedPixels) -> bool:
    """Whether the first pixel's interclass noise falls as much as a starting pixel's may have been chosen for."""
    raw, last = (view.figures(0, stage)["interclass_noise"] for stage in ("raw", view.stages[-1]))
    return raw is not None and last is not None and raw - last >= LEAST_MENDED


def _say_no_classes() -> None:
    st.info(
        "There are maps but no noise figures: they need classes, so add `labels` (or a `prediction`) to the file.",
        icon=":material/info:",
    )


def _say_missing(views: Sequence[PinnedPixels]) -> None:
    words = []
    if None in views[0].class_names:
        words.append("A cell without a label has no figures: pin another pixel to see some.")
    if any(view.emptied(pin, stage) for view in views for pin in range(len(view.pixels)) for stage in view.stages):
        words.append("*Emptied*: the gate left nothing of this row, so there is nothing to measure.")
    if words:
        st.caption(" ".join(words))


# --- the table -------------------------------------------------------------------------------------------------------


def figures_table(views: Sequence[PinnedPixels], *, pinned: bool) -> str:
    """HTML: one group of rows a pin, one row a view and stage, one column a figure."""
    several = len(views) > 1
    words = ["pixel", *(["model"] if several else []), "stage"]
    head = "".join(f'<th scope="col" class="words">{word}</th>' for word in words) + "".join(
        f'<th scope="col"><abbr title="{html.escape(meaning)}">{heading}</abbr></th>'
        for heading, meaning in map(PIN_WORDS.get, DIGITS)
    )
    groups = []
    for pin in range(len(views[0].pixels)):
        rows = []
        for view in views:
            for stage in view.stages:
                cells = ""
                if view is views[0] and stage == view.stages[0]:
                    height = sum(len(each.stages) for each in views)
                    cells += f'<th scope="rowgroup" rowspan="{height}">{_pin(views[0], pin, pinned)}</th>'
                if several and stage == view.stages[0]:
                    name = html.escape(view.source.name)
                    cells += f'<th scope="rowgroup" rowspan="{len(view.stages)}">{name}</th>'
                cells += f'<th scope="row">{stage}</th>' + _numbers(view, pin, stage)
                rows.append(f'<tr data-pin="{pin + 1}" data-stage="{stage}">{cells}</tr>')
        groups.append(f"<tbody>{''.join(rows)}</tbody>")
    return f'{STYLE}<div class="pins"><table><thead><tr>{head}</tr></thead>{"".join(groups)}</table></div>'


def _numbers(view: PinnedPixels, pin: int, stage: str) -> str:
    found = view.figures(pin, stage)
    missing = "emptied" if view.emptied(pin, stage) else "–"
    cells = []
    for name, digits in DIGITS.items():
        text = missing if found[name] is None else f"{found[name]:.{digits}f}"
        emphasis = ' class="noise"' if name == "interclass_noise" else ""
        cells.append(f'<td data-figure="{name}"{emphasis}>{text}</td>')
    return "".join(cells)


def _pin(view: PinnedPixels, pin: int, pinned: bool) -> str:
    """The pin's number in its colour, its class and its place."""
    name = html.escape(view.class_names[pin] or "no class")
    return f"{_number(pin, pinned)}{name}<small>{_place(view, pin)}</small>"


def _place(view: PinnedPixels, pin: int) -> str:
    """Where a pin is, or what a query without a place is called."""
    pixel = view.pixels[pin]
    return html.escape(view.query_name(pin) or "") if pixel is None else f"row {pixel[0]}, column {pixel[1]}"


def _number(pin: int, pinned: bool) -> str:
    if not pinned:
        return ""
    colour = PIN_COLOURS[pin % len(PIN_COLOURS)]
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    ink = "#000" if 0.3 * red + 0.59 * green + 0.11 * blue > 110 else "#fff"
    return f'<span class="number" style="background:{colour};color:{ink}">{pin + 1}</span>'


# --- the maps --------------------------------------------------------------------------------------------------------


def maps_table(views: Sequence[PinnedPixels], scale: Scale, colormap: str, *, pinned: bool) -> str:
    """HTML: pins (and views) × stages, every map on one colour scale, unless each is to have its own.

    A stage that one of the views alone has leaves its place free in the others.
    """
    stages = own_stages(stage for view in views for stage in view.stages)
    maps = [{stage: _shown(view, stage, scale) for stage in view.stages} for view in views]
    everything = [found for of_view in maps for of_stage in of_view.values() for found in of_stage]
    common = None if scale.kind == "map" else map_scale(everything, scale)
    several = len(views) > 1
    figures = []
    for pin in range(len(views[0].pixels)):
        for view, of_view in zip(views, maps, strict=True):
            name = f"<small>{html.escape(view.source.name)}</small>" if several else ""
            label = html.escape(view.class_names[pin] or "no class")
            figures.append(
                f'<figure><img src="{_photo(view, pin)}" alt="The image with pixel {pin + 1} marked">'
                f"<figcaption>{_number(pin, pinned)}{label}{name}</figcaption></figure>"
            )
            for stage in stages:
                if stage not in of_view:
                    figures.append(f"<figure><figcaption>{LACKING_WORDS[stage]}</figcaption></figure>")
                    continue
                of_stage = of_view[stage]
                norm = (common or map_scale([of_stage[pin]], scale)).norm
                picture = _address(matplotlib.colormaps[colormap](norm(of_stage[pin]), bytes=True)[:, :, :3])
                figures.append(
                    f'<figure><img class="map" src="{picture}" style="aspect-ratio:{_ratio(view)}" '
                    f'alt="{stage} map of pixel {pin + 1}"><figcaption>{_noise(view, pin, stage)}</figcaption></figure>'
                )
    heads = "".join(f"<strong>{word}</strong>" for word in ("pixel", *(STAGE_WORDS[stage] for stage in stages)))
    columns = f"grid-template-columns: repeat({1 + len(stages)}, minmax(0, 1fr))"
    grid = f'<div class="maps" style="{columns}">{heads}{"".join(figures)}</div>'
    return f'{STYLE}<div class="pins">{grid}{_bar(common, scale, colormap)}</div>'


def _shown(view: PinnedPixels, stage: str, scale: Scale) -> np.ndarray:
    rows = getattr(view.rows, stage)
    return shares(rows) if scale.kind in ("uniform", "log") else rows


def _noise(view: PinnedPixels, pin: int, stage: str) -> str:
    found = view.figures(pin, stage)
    if found["interclass_noise"] is None:
        return f"{stage}: emptied" if view.emptied(pin, stage) else stage
    return f"noise {found['interclass_noise']:.3f}, {found['times_chance']:.2f} × chance"


def _ratio(view: PinnedPixels) -> str:
    height, width = view.capture.key_grid.seen[2:]
    return f"{width} / {height}"


def _photo(view: PinnedPixels, pin: int) -> str:
    """A small photo with the pin marked, where it has a place, as the address of a picture."""
    height, width = view.capture.image.shape[:2]
    factor = min(1.0, PHOTO_WIDTH / width)
    photo = Image.fromarray(view.capture.image).resize((max(1, round(width * factor)), max(1, round(height * factor))))
    pixel = view.pixels[pin]
    if pixel is None:
        return _address(np.asarray(photo), "JPEG")
    y, x = (side * factor for side in pixel)
    draw, radius = ImageDraw.Draw(photo), 10
    for grow, colour in ((1.5, "#000000"), (0, PIN_COLOURS[pin % len(PIN_COLOURS)])):
        size = radius + grow
        draw.ellipse((x - size, y - size, x + size, y + size), outline=colour, width=3 + round(2 * grow))
    return _address(np.asarray(photo), "JPEG")


def _address(picture: np.ndarray, file_format: str = "PNG") -> str:
    """H×W×3 uint8 -> a data address."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, file_format)
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def _bar(common: MapScale | None, scale: Scale, colormap: str) -> str:
    """The colour bar with its numbers."""
    colours = _address(matplotlib.colormaps[colormap](np.linspace(0, 1, 256), bytes=True)[None, :, :3])
    words = html.escape(bar_labels(scale)[0])
    norm = Normalize(0, 1) if common is None else common.norm
    low, high = norm.vmin * FACTORS[scale.kind], norm.vmax * FACTORS[scale.kind]
    beyond = " and more" if common is not None and common.clipped else ""
    return (
        f'<div class="bar"><span>{low:.2g}</span><img src="{colours}" alt="Colour scale from {low:.2g} to {high:.2g}">'
        f"<span>{high:.3g}{beyond}</span><span>{words}</span></div>"
    )


# --- the chart -------------------------------------------------------------------------------------------------------


def _show_chart(views: Sequence[PinnedPixels]) -> None:
    metric = st.segmented_control(
        "Figure",
        CHARTED,
        default=CHARTED[0],
        required=True,
        format_func=METRIC_WORDS.get,
        key="pins metric",
        persist_state="session",
        label_visibility="collapsed",
    )
    st.plotly_chart(
        pins_figure(views, metric),
        key="pins chart",
        config={"displayModeBar": False},
        alt=f"{METRIC_WORDS[metric]} of each pinned pixel in each stage.",
    )
