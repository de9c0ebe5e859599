"""The lesson's first steps, on a tiny grid: softmax attention and its two kinds of noise."""

import math

import numpy as np
import streamlit as st

from analysis import lesson
from analysis.charts.lesson import grid_figure, saturation_figure
from pages.parts.app.words import say
from pages.parts.lesson.choices import OPTIONS, WEIGHT_LIMIT, WEIGHTS, WEIGHTS_OPENED, WEIGHTS_SHOWN, entry
from pages.parts.lesson.link import default_weights
from pages.parts.lesson.widgets import choice, plot, question, show_figures, slider

# --- 1: softmax ------------------------------------------------------------------------------------------------------


def softmax() -> None:
    """The step on the row of attention."""
    by_hand, saturating = st.tabs(["By hand", "When scores grow"])
    with by_hand:
        _softmax_by_hand()
    with saturating:
        _saturation()


def _softmax_by_hand() -> None:
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "One cell of an image, the **query** $i$, asks every cell $j$, a **key**: *how well do we match?* The "
            "answer is a score, a plain inner product. Softmax turns the scores into a **row of attention**."
        )
        st.latex(r"A_{ij}=\frac{e^{\,q_i\cdot k_j\,/\,T}}{\sum_m e^{\,q_i\cdot k_m\,/\,T}}")
        st.markdown("Set the six scores of a 2×3 image, and the temperature $T$, which is 1 in the method:")
        scores = np.zeros((2, 3))
        for row in range(2):
            for column, place in enumerate(st.columns(3)):
                with place:
                    scores[row, column] = slider(f"cell {row + 1}, {column + 1}", f"score {row} {column}")
        temperature = slider("temperature T", "temperature")
    with picture:
        attention = lesson.softmax_row(scores, temperature)
        plot(
            grid_figure(attention, largest=1.0, title="the row of attention"),
            "softmax grid",
            "The attention of each of the six cells.",
        )
        terms = " + ".join(f"{value:.3f}" for value in attention.ravel())
        say(f"**The row sums to {attention.sum():.3f}**: {terms}.", "lesson sum")
        say(
            f"The strongest cell takes **{attention.max():.0%}**. Raise *all* scores by the same amount: nothing "
            "changes. Only differences count.",
            "lesson strongest",
        )
    question(
        "what does T → 0 do, and what T → ∞?",
        "T → 0: the largest score takes everything (the softmax is *saturated*: a hard choice, through which hardly "
        "any gradient flows). T → ∞: every cell gets 1/6, whatever the scores say. So T divides all differences "
        "between scores, and so does a network that learns larger or smaller queries and keys.",
    )


def _saturation() -> None:
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "A transformer divides its scores by $\\sqrt d$, the root of the number of channels. **This method does "
            "not.** If queries and keys have independent channels of size 1, then"
        )
        st.latex(r"\operatorname{std}(q_i\cdot k_j)=\sqrt d")
        st.session_state.setdefault(entry("channels"), OPTIONS["channels"].start)
        channels = st.select_slider(
            "channels d", OPTIONS["channels"].options, key=entry("channels"), persist_state="session"
        )
        plain, scaled = (lesson.saturation(channels, scaled=scaled) for scaled in (False, True))
        st.table(
            {
                "": ["top mass", "effective keys of 100"],
                "q·k": [f"{plain.top_mass:.3f}", f"{plain.effective_keys:.1f}"],
                "q·k / √d": [f"{scaled.top_mass:.3f}", f"{scaled.effective_keys:.1f}"],
            },
            hide_index=True,
        )
        say(
            f"With d = {channels} the scores' spread is {math.sqrt(channels):.0f}. Saturated rows put nearly all on "
            "one cell and pass on hardly any gradient: the attention cannot learn its way out. Without $1/\\sqrt d$ it "
            "is training (how queries and keys start, how fast they learn) that must keep the scores small.",
            "lesson spread",
        )
    with picture:
        plot(
            saturation_figure({"q·k, as in the method": plain.sorted_row, "q·k / √d": scaled.sorted_row}),
            "saturation",
            "Attention of the strongest keys, with and without the scale.",
        )
        st.caption("Means over 100 queries among 100 keys, all of random numbers.")
    question(
        "a network could learn smaller queries by itself. Why does that not settle it?",
        "It can, if it gets a gradient. The gradient of a saturated row is nearly zero, so a block that starts with a "
        "large spread stays where it is, while the rest of the network learns to do without it.",
    )


# --- 2: noise --------------------------------------------------------------------------------------------------------


def noise() -> None:
    """The step on the two kinds of noise."""
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "A tiny street. The query is a **road** cell; $S$ are the other road cells, $D$ the cells of other "
            "classes, and $\\tilde a$ is the row divided by its mass on both."
        )
        st.latex(r"\text{interclass noise}=\sum_{j\in D}\tilde a_j")
        st.latex(r"\text{chance}=|D|\,/\,|S\cup D|")
        st.latex(r"\text{intraclass noise}=1-\frac{H(b)}{\log|S|}")
        st.markdown("$b$ is the row on $S$ alone, divided by its sum; $H$ is the entropy.")
        st.caption("The paper names both noises in words alone. These definitions are this project's own.")
        way = choice("Move the mass", "way")
        row = _slider_row() if way == "with sliders" else _typed_row()
    with picture:
        figures = lesson.row_figures(row)
        plot(
            grid_figure(row, labels=lesson.LABELS, query=lesson.QUERY, digits=2),
            "noise grid",
            "The query's attention on each cell of the tiny street, with the cell's class.",
        )
        show_figures(figures, ("interclass_noise", "chance", "intraclass_noise", "hollow_fraction", "effective_keys"))
        if figures["interclass_noise"] is None:
            words = "The row is **emptied**: without mass there is nothing to measure, and no average counts it."
            say(words, "lesson emptied")
        else:
            times = figures["interclass_noise"] / figures["chance"]
            knows = "The row knows the class of the query." if times < 0.95 else "It knows no more than an even row."
            say(f"**{times:.2f} × chance.** {knows}", "lesson times chance")
    question(
        "which row has no noise of either kind? And is it a good one?",
        "Evenly spread over the query's own class, nothing elsewhere. It is free of noise, but it also cannot tell a "
        "near cell from a far one, or one car from another. Low noise means: the row respects the classes. It does not "
        "mean that the network needs this row.",
    )


def _slider_row() -> np.ndarray:
    astray = slider("share of the attention on other classes", "astray")
    unevenness = slider("share of the rest on one single road cell", "unevenness")
    return lesson.noisy_row(astray, unevenness)


def _typed_row() -> np.ndarray:
    """A row from a table of weights; the table a user left is the one that is found again."""
    key = f"lesson weights {st.session_state.get(entry(WEIGHTS_OPENED), 0)}"  # another table for another link
    if key not in st.session_state:  # the editor starts anew: with what it held when it was last seen
        start = st.session_state.get(entry(WEIGHTS))
        st.session_state[entry(WEIGHTS_SHOWN)] = default_weights() if start is None else start
    st.caption("Weights of the cells; they are divided by their sum. The query's own cell takes no part.")
    edited = st.data_editor(
        st.session_state[entry(WEIGHTS_SHOWN)],
        key=key,
        hide_index=True,
        column_config={
            name: st.column_config.NumberColumn(min_value=0.0, max_value=WEIGHT_LIMIT, step=0.5, required=True)
            for name in default_weights()
        },
    )
    st.session_state[entry(WEIGHTS)] = edited
    weights = edited.to_numpy(np.float64).copy()
    weights[lesson.QUERY] = 0
    return weights / (weights.sum() or 1.0)
