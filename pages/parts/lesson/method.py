"""The lesson's steps on the method, on a tiny grid: GR, LR, and what LR costs."""

import math

import numpy as np
import streamlit as st

from analysis import lesson
from analysis.charts.lesson import cost_figure, distributions_figure, gate_figure, grid_figure
from analysis.words import GATE_WORDS
from dnl.attention import GATES
from pages.parts.app.words import say
from pages.parts.lesson.choices import MISTAKEN, OPTIONS, SIZES, entry
from pages.parts.lesson.widgets import choice, number, plot, plot_small, question, show_figures, slider

# --- 3: GR -----------------------------------------------------------------------------------------------------------


def rectifying() -> None:
    """The step on GR."""
    pair, street = st.tabs(["Two cells", "A whole row"])
    with pair:
        _gates_of_two_cells()
    with street:
        _gates_of_a_row()


def _gates_of_two_cells() -> None:
    low, high = lesson.sigmoid_gate_range()
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "**Global Rectifying** multiplies each attention value by a **gate**: how likely do both cells share a "
            "class? $p$ is the network's own guess, a distribution over the classes in every cell."
        )
        st.latex(r"A'=A\odot G")
        st.markdown(
            "- **sigmoid**: $G_{ij}=\\sigma(p_i\\cdot p_j)$, what the authors' code, the *release*, computes\n"
            "- **similarity**: $G_{ij}=p_i\\cdot p_j$, the probability of a common class: the soft version\n"
            "- **binary**: $G_{ij}=1$ where both have the same most likely class, else 0: what the abstract says"
        )
        sure_query = slider("query: how sure it is road", "sure query")
        other = choice("the key's class", "key class")
        sure_key = slider(f"key: how sure it is {other}", "sure key")
    query, key = (
        lesson.class_distribution(np.array([[lesson.CLASS_NAMES.index(name)]]), sure)[:, 0, 0]
        for name, sure in (("road", sure_query), (other, sure_key))
    )
    gates = {gate: float(values[0]) for gate, values in lesson.gates_of(query[:, None], key[:, None]).items()}
    with picture:
        plot(
            distributions_figure({"query": query, "key": key}), "two distributions", "Both cells' class distributions."
        )
        with st.container(horizontal=True):
            for gate, value in gates.items():
                st.metric(GATE_WORDS[gate], f"{value:.3f}", width=150)
        plain = np.linspace(1 / 3, 1, 81)
        with st.expander("Gate against confidence, same class and other class"):
            plot(
                gate_figure(plain, lesson.gate_curves(plain), float(np.clip(sure_query, 1 / 3, 1))),
                "gate curves",
                "The three gates against the confidence of both cells.",
            )
    st.info(
        f"**Why the release's gate is so gentle.** $p_i\\cdot p_j$ lies between 0 and 1, so its sigmoid lies between "
        f"$\\sigma(0)$ = {low:.3f} and $\\sigma(1)$ = {high:.3f}. Against a sure cell of the same class, a cell of "
        f"another class keeps at least {low:.3f} / {high:.3f} = {low / high:.3f} of its attention: it loses at most "
        f"**{1 - low / high:.0%}**. The abstract's binary map takes everything.",
        icon=":material/lightbulb:",
    )
    question(
        "which gate would you rather have when the class guess is poor?",
        "Binary trusts the guess blindly: a wrong guess cuts off the right cells and lets wrong ones through, and no "
        "gradient flows through it. Similarity hedges. Sigmoid hardly believes the guess at all, so it can do little "
        "harm and little good. Try *GR takes two road cells for trees* in the second tab.",
    )


def _gates_of_a_row() -> None:
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown("The same noisy row, through each gate. Rows are **not renormalised**: a gate only takes away.")
        gate = choice("gate", "gate", format_func=GATE_WORDS.get)
        astray = slider("raw: share of the attention on other classes", "row astray")
        sure = slider("how sure GR is of every cell", "row confidence")
        mistaken = st.toggle("GR takes two road cells for trees", key=entry(MISTAKEN), persist_state="session")
        raw = lesson.noisy_row(astray, 0.0)
        rows = {name: lesson.rectified_row(raw, name, sure, mistaken=mistaken) for name in GATES}
        before = lesson.row_figures(raw)
        st.table(
            [
                {
                    "row": name,
                    "interclass noise": number(figures["interclass_noise"]),
                    "hollow fraction": number(figures["hollow_fraction"]),
                    "kept mass": number(figures["kept_mass"]),
                }
                for name, figures in (
                    ("raw", before),
                    *((GATE_WORDS[name], lesson.row_figures(row)) for name, row in rows.items()),
                )
            ],
            hide_index=True,
        )
    with picture:
        plot(
            grid_figure(
                rows[gate],
                labels=lesson.LABELS,
                query=lesson.QUERY,
                largest=float(raw.max()),
                title=f"rectified, {gate} gate, on the raw row's scale",
            ),
            "gated grid",
            "The query's attention after the gate, on each cell of the tiny street.",
        )
        show_figures(
            lesson.row_figures(rows[gate]), ("interclass_noise", "chance", "hollow_fraction", "kept_mass"), before
        )


# --- 4: LR -----------------------------------------------------------------------------------------------------------


def retaining() -> None:
    """The step on LR."""
    filling, folding = st.tabs(["Filling a hollow", "Folding"])
    with filling:
        _filling()
    with folding:
        _folding()


def _filling() -> None:
    words, picture = st.columns([5, 6], gap="large")
    row = lesson.hollow_row()
    with words:
        st.markdown(
            "Two road cells get nothing: a **hollow**. **Local Retention** lets every cell $m$ collect what its "
            "$k\\times k$ neighbours (and itself) were given, each weighted by how well they match."
        )
        st.latex(
            r"\begin{gathered}A''_{nm}=\sum_\delta L_{m\delta}\,A'_{n,\,m+\delta}\\"
            r"L_{m\delta}=\sigma(q_m\cdot k_{m+\delta})\end{gathered}"
        )
        same = slider("q·k between neighbours of the same class", "same score")
        other = slider("q·k between neighbours of different classes", "other score")
        kernel = choice("window k", "kernel", format_func=lambda side: f"{side}×{side}")
        retention = lesson.retained_row(row, same_score=same, other_score=other, kernel=kernel)
        say(
            f"L = σ({same:+.1f}) = **{_sigmoid(same):.3f}** within a class, σ({other:+.1f}) = "
            f"**{_sigmoid(other):.3f}** across. The row's mass goes from 1.000 to **{retention.row.sum():.3f}**: terms "
            "outside the map are dropped, and nothing is renormalised.",
            "lesson retained",
        )
    with picture:
        with st.container(horizontal=True):
            for name, values in (("before LR", row), ("after LR", retention.row)):
                plot_small(
                    grid_figure(values, labels=lesson.LABELS, query=lesson.QUERY, digits=2, title=name),
                    name,
                    f"The query's attention on each cell, {name}.",
                )
        show_figures(
            lesson.row_figures(retention.row),
            ("interclass_noise", "intraclass_noise", "hollow_fraction", "kept_mass"),
            lesson.row_figures(row),
        )
        st.caption("Each map on its own colour scale. The arrows compare with the row before LR.")
    question(
        "set both scores to the same value. What is LR now, and what does it cost?",
        "A constant box: every cell collects its whole neighbourhood, whatever the class. The hollow is filled just "
        "as well, but attention leaks over every class boundary: interclass noise goes up at the trunk and along the "
        "trees. Whether learnt weights beat such a box is something to measure; step 6 lets you.",
    )


def _sigmoid(score: float) -> float:
    return 1 / (1 + math.exp(-score))


def _folding() -> None:
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "What the block needs is $A''V$, never the map $A''$ itself. Written as a matrix, $L$ has only $k^2$ "
            "diagonals, so it can be moved to the **values**:"
        )
        st.latex(r"A''V=(A'L^{\top})V=A'\,(L^{\top}V)")
        st.latex(r"(L^{\top}V)_j=\sum_\delta L_{j-\delta,\,\delta}\,V_{j-\delta}")
        st.markdown("A 2×3 image with one value in each cell. Take other numbers, and see both sides agree:")
        seed = slider("other numbers", "seed")
        gate = choice("gate", "folding gate")
        kernel = choice("window k", "folding kernel", format_func=lambda side: f"{side}×{side}")
        example = lesson.folding_example(seed, kernel=kernel, gate=gate)
    with picture:
        grids = (
            ("V, the values", example.value, 0),
            ("LᵀV, the values folded", example.folded_value, 3),
            ("A″V, the long way", example.unfolded, 4),
            ("A′(LᵀV), folded", example.folded, 4),
        )
        with st.container(horizontal=True):
            for name, values, digits in grids:
                alt = f"{name}: a number in each of six cells."
                plot_small(grid_figure(values, digits=digits, title=name), name, alt)
        difference = float(np.abs(example.unfolded - example.folded).max())
        own = float(np.abs(example.block - example.folded).max())
        say(
            f"Largest difference: **{difference:.0e}**. The network's own block, which never builds a map, differs by "
            f"**{own:.0e}**.",
            "lesson folded",
        )
        with st.expander("The two maps, 6×6"):
            for name, values in (("A′, rectified", example.rectified), ("A″, retained", example.retained)):
                plot(grid_figure(values, digits=2, title=name), name, f"{name}: what each cell gives to each cell.")
    question(
        "why is L a matrix of only k² diagonals?",
        "Cell m collects from m + δ alone, for k² offsets δ. Read as an N×N matrix, L has one entry for each such "
        "pair and zeros elsewhere, so multiplying by it is a local k×k operation, as cheap as a small convolution.",
    )


# --- 5: cost ---------------------------------------------------------------------------------------------------------


def cost() -> None:
    """The step on what LR costs on the map and folded into the values."""
    words, picture = st.columns([5, 6], gap="large")
    with words:
        st.markdown(
            "On the map, LR needs each of the $k^2$ shifted copies of $A'$, and their weighted ones: two tensors of "
            "$k^2N^2$ numbers. Folded into the values it needs $k^2N$ weights and $N$ new values of $C$ channels."
        )
        st.session_state.setdefault(entry("image size"), OPTIONS["image size"].start)
        size = st.selectbox("image", list(SIZES), key=entry("image size"), persist_state="session")
        stride = choice("pixels per cell", "stride")
        kernel = choice("window k", "cost kernel", format_func=lambda side: f"{side}×{side}")
        channels = choice("channels C", "cost channels")
        height, width = (math.ceil(side / stride) for side in SIZES[size])
        cells = height * width
        spent = lesson.retention_cost(cells, kernel=kernel, channels=channels)
        st.table(_cost_rows(spent, f"{height}×{width}: N = {cells:,}"), hide_index=True)
    with picture:
        every = np.unique(np.geomspace(256, 65536, 60).astype(int))
        costs = [lesson.retention_cost(int(count), kernel=kernel, channels=channels) for count in every]
        plot(
            cost_figure(
                every,
                np.array([4 * each.unfolded_numbers for each in costs]),
                np.array([4 * each.folded_numbers for each in costs]),
                cells,
            ),
            "cost",
            "Memory of both formulas against the number of cells.",
        )
        say(
            f"**{spent.unfolded_numbers / spent.folded_numbers:,.0f} times less memory**, and the numbers agree, as "
            "you saw in the last step. The network goes further: it streams the rows of $A'$ in blocks of queries, so "
            "no N×N map is ever held, forward or backward.",
            "lesson memory",
        )
        st.caption(
            "These are counts, not timings: `make bench` times both on your machine. The axes are logarithmic; the "
            "line marks the chosen image."
        )
    question(
        "twice the image's side: how much more does each formula need?",
        "Twice the side is four times the cells. On the map that is 4² = 16 times the memory, folded 4 times. The "
        "product A′V itself still takes 16 times the multiplications: folding saves what LR adds, not the attention.",
    )


def _cost_rows(spent: lesson.Cost, head: str) -> list[dict[str, str]]:
    """A table of what both formulas need; head: of the column of names."""
    return [
        {head: what, "on the map": unfolded, "folded": folded}
        for what, unfolded, folded in (
            ("memory (float32)", _bytes(spent.unfolded_numbers), _bytes(spent.folded_numbers)),
            ("multiplications", f"{spent.unfolded_multiplications:.1e}", f"{spent.folded_multiplications:.1e}"),
            (
                "of the product A′V",
                f"{spent.unfolded_multiplications / spent.product:.2%}",
                f"{spent.folded_multiplications / spent.product:.2%}",
            ),
        )
    ]


def _bytes(numbers: int) -> str:
    """The size of that many float32 numbers in words."""
    power = min(3, int(math.log(4 * numbers, 1024)))
    return f"{4 * numbers / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB')[power]}"
