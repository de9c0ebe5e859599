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

    Uses CamVid's scores (mean IoU with and without the map; of test, or else of val), `gamma`, `query_dependence`,
    `effective_keys`, `distinct_argmax_keys` and the raw interclass noise. Without any cost measured the state is
    "unknown".
    """
    split, scores = _scores(metrics)
    without = {name: scores[name] for name in LEAST_COST if "miou" in scores and name in scores}
    costs = {name: scores["miou"] - miou for name, miou in without.items()}
    noise = _noise_over_chance(metrics)
    facts = _facts(metrics, costs, noise)
    if not costs:
        return Health("unknown", "This checkpoint's card does not say what its attention is worth.", facts)
    dependence, keys = metrics.get("query_dependence"), metrics.get("effective_keys")
    if dependence is not None and dependence < LEAST_QUERY_DEPENDENCE:
        sentence = f"Collapsed: every query gets much the same map (query dependence {dependence:.2f} of 1)."
        return Health("collapsed", sentence, facts)
    if keys is not None and keys < LEAST_EFFECTIVE_KEYS:
        return Health("collapsed", f"Collapsed: a query's attention sits on {keys:.1f} cells.", facts)
    unused = {name: miou for name, miou in without.items() if costs[name] < LEAST_COST[name]}
    if unused:
        sentence = f"Hardly used: mean IoU on {split} is {scores['miou']:.3f}, and still {_listed(unused)}."
        return Health("hardly used", sentence, facts)
    if noise is not None and noise > MOST_NOISE:
        return Health("hardly used", f"Hardly used: its raw map is nearly as noisy as chance ({noise:.2f} ×).", facts)
    sentence = f"Alive: mean IoU on {split} falls from {scores['miou']:.3f} to {_listed(without, 'to ')}."
    return Health("alive", sentence, facts)


def _scores(metrics: dict) -> tuple[str, dict]:
    """The split in words and the scores that the judgement rests on: those with the attention's worth first."""
    found = {name: metrics[name] for name in ("camvid_test", "camvid_val") if name in metrics}
    judged = [name for name, scores in found.items() if any(cost in scores for cost in LEAST_COST)]
    name = next(iter([*judged, *found]), "camvid_val")
    return f"CamVid {name.removeprefix('camvid_')}", found.get(name, {})


def _facts(metrics: dict, costs: dict[str, float], noise: float | None) -> tuple[tuple[str, str], ...]:
    facts = []
    if "gamma" in metrics:
        facts.append(("γ, the weight of the block", f"{metrics['gamma']:.3f}"))
    split, scores = _scores(metrics)
    if "miou" in scores:
        facts.append((f"mean IoU on {split}", f"{scores['miou']:.3f}"))
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


def _listed(without: dict[str, float], before: str = "") -> str:
    """The mean IoU with each replacement: "0.003 without the block (γ = 0) and 0.614 with uniform attention …"."""
    words = [f"{miou:.3f} {COST_WORDS[name]}" for name, miou in without.items()]
    return words[0] if len(words) == 1 else f"{f', {before}'.join(words[:-1])} and {before}{words[-1]}"
