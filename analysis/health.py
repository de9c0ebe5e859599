"""Is a model's attention alive? An answer in words, from the figures in its checkpoint's card.

Trained carelessly, an attention block learns nothing and nobody notices, because the rest of the network carries the
result. So it is asked what the mean IoU loses when the block is turned off (γ = 0), and when its map is replaced by
uniform attention or by the image's mean row: only then is it the map that is used.
"""

from dataclasses import dataclass

# What a replacement must cost, as a fraction of 1 (mean IoU), to count as a loss and not as chance.
LEAST_COST = {"miou_gamma_0": 0.02, "miou_uniform": 0.01, "miou_mean": 0.005}
COST_WORDS = {
    "miou_gamma_0": "without the block (γ = 0)",
    "miou_uniform": "with uniform attention in its place",
    "miou_mean": "with the image's mean row in its place",
}
# Below either, all queries get much the same map, or each puts all on a key or two.
LEAST_QUERY_DEPENDENCE = 0.1
LEAST_EFFECTIVE_KEYS = 3.0
# Above this share of chance, the raw map hardly knows the classes.
MOST_NOISE = 0.85


@dataclass(frozen=True)
class Health:
    """`state` is "alive", "hardly used", "collapsed" or "unknown". `sentence` says why. `facts`: names and values."""

    state: str
    sentence: str
    facts: tuple[tuple[str, str], ...] = ()


def attention_health(metrics: dict) -> Health:
    """The health of an attention from a card's `metrics`; figures that are missing are left out of the judgement.

    Uses `camvid_val` (mean IoU with and without the map), `gamma`, `query_dependence`, `effective_keys`,
    `distinct_argmax_keys` and the raw interclass noise. Without any cost measured the state is "unknown".
    """
    scores = metrics.get("camvid_val", {})
    costs = {name: scores["miou"] - scores[name] for name in LEAST_COST if "miou" in scores and name in scores}
    noise = _noise_over_chance(metrics)
    facts = _facts(metrics, costs, noise)
    if not costs:
        return Health("unknown", "This checkpoint's card does not say what its attention is worth.", facts)
    dependence, keys = metrics.get("query_dependence"), metrics.get("effective_keys")
    if dependence is not None and dependence < LEAST_QUERY_DEPENDENCE:
        return Health("collapsed", "Collapsed: every query gets much the same map, so the maps say little.", facts)
    if keys is not None and keys < LEAST_EFFECTIVE_KEYS:
        return Health(
            "collapsed", f"Collapsed: a query's attention sits on {keys:.1f} cells, so the maps say little.", facts
        )
    unused = [COST_WORDS[name] for name, cost in costs.items() if cost < LEAST_COST[name]]
    if unused:
        return Health("hardly used", f"Hardly used: the network does as well {_listed(unused)}.", facts)
    if noise is not None and noise > MOST_NOISE:
        return Health("hardly used", "Hardly used: its raw map is nearly as noisy as chance.", facts)
    return Health("alive", f"Alive: the network does worse {_listed([COST_WORDS[name] for name in costs])}.", facts)


def _facts(metrics: dict, costs: dict[str, float], noise: float | None) -> tuple[tuple[str, str], ...]:
    facts = []
    if "gamma" in metrics:
        facts.append(("γ, the weight of the block", f"{metrics['gamma']:.3f}"))
    if "miou" in metrics.get("camvid_val", {}):
        facts.append(("mean IoU on CamVid val", f"{metrics['camvid_val']['miou']:.3f}"))
    facts += [(f"change {COST_WORDS[name]}", f"{-cost:+.3f}".replace("-", "−")) for name, cost in costs.items()]
    if noise is not None:
        facts.append(("raw interclass noise", f"{noise:.2f} × chance"))
    for name, words, digits in (
        ("query_dependence", "query dependence (0: one map for all)", 2),
        ("effective_keys", "effective keys of a query, median", 0),
        ("distinct_argmax_keys", "distinct strongest keys in an image", 0),
    ):
        if name in metrics:
            facts.append((words, f"{metrics[name]:.{digits}f}"))
    return tuple(facts)


def _noise_over_chance(metrics: dict) -> float | None:
    noise = metrics.get("attention", {}).get("raw", {}).get("interclass_noise", {})
    return noise["mean"] / noise["chance"] if noise.get("chance") and "mean" in noise else None


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
