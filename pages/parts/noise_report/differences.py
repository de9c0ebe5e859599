"""The Noise report's tests: what the stages change, and how the checkpoints differ."""

from collections.abc import Mapping

import streamlit as st

from analysis.charts.differences import class_rows, difference_rows
from analysis.measure import NOISE_METRICS, ImageRecord, checkpoint_differences, least_images
from analysis.options import own_stages
from analysis.words import METRIC_WORDS, conclusion
from pages.parts.app.words import literal
from pages.parts.noise_report.work import Work


def show_tests(differences: Mapping[str, Mapping], key: str) -> None:
    """The differences with their tests, what may be concluded, and on demand class by class.

    differences: what is compared -> metric -> its difference. key: of the widgets.
    """
    if all(blocks[metric]["p"] is None for blocks in differences.values() for metric in NOISE_METRICS):
        first = next(iter(differences.values()), None)
        if first is not None:
            st.caption(literal(conclusion("interclass_noise", first["interclass_noise"])))
        return
    rows = difference_rows(differences, NOISE_METRICS)
    st.dataframe(rows, hide_index=True, height="content", key=key)
    with st.popover("What may be concluded"):
        for name, blocks in differences.items():
            sentences = " ".join(literal(conclusion(metric, blocks[metric])) for metric in NOISE_METRICS)
            st.markdown(f"**{literal(name.replace(' - ', ' − '))}**: {sentences}")
        st.markdown(
            "p is how often flipping the signs of the paired differences at random gives a mean as far from 0; images "
            "of one drive are not flipped one by one. The effect is the mean of the images' differences in units of "
            "their standard deviation."
        )
    with st.popover("Class by class"):
        st.caption(f"{METRIC_WORDS['interclass_noise'].capitalize()}; p is corrected for the number of classes (Holm).")
        st.dataframe(class_rows(differences, "interclass_noise"), hide_index=True, key=f"{key} classes")


def compared(work: Work, records: Mapping[str, list[ImageRecord]]) -> dict:
    """How the checkpoints differ, as in the command line's summary.json; computed once for each state of the work."""
    key = tuple((name, len(of_model), sum(r.detection_queries for r in of_model)) for name, of_model in records.items())
    if key not in work.comparisons:
        names = next(iter(work.class_names.values()))
        least = least_images(min(map(len, records.values())))
        work.comparisons[key] = checkpoint_differences(records, len(names), min_images=least, class_names=names)
    return work.comparisons[key]


def show_comparison(work: Work, records: Mapping[str, list[ImageRecord]]) -> None:
    """How the checkpoints differ, image by image; nothing for one, or where their classes differ."""
    if len(records) < 2:
        return
    st.subheader("Do the checkpoints differ?")
    if len({work.class_names[name] for name in records}) > 1:
        st.info("They know different classes, so their figures cannot be paired.")
        return
    for pair, block in compared(work, records).items():
        stages = {stage: block["stages"][stage] for stage in own_stages(block["stages"])}
        st.caption(
            literal(f"{pair.replace(' - ', ' − ')}, paired by image ({block['images']}). Below 0 is less noise.")
        )
        show_tests(stages, f"comparison {pair}")
