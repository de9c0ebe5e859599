from analysis.health import attention_health

ALIVE = {
    "camvid_val": {"miou": 0.655, "miou_gamma_0": 0.575, "miou_uniform": 0.614, "miou_mean": 0.631},
    "gamma": 0.25,
    "attention": {"raw": {"interclass_noise": {"mean": 0.565, "chance": 0.909}}},
    "query_dependence": 0.78,
    "effective_keys": 172.0,
    "distinct_argmax_keys": 125.0,
}


def changed(**changes) -> dict:
    return ALIVE | changes


def test_an_attention_whose_map_is_worth_something_is_alive():
    health = attention_health(ALIVE)
    assert health.state == "alive"
    assert "(γ = 0)" in health.sentence and "uniform" in health.sentence and "mean row" in health.sentence
    facts = dict(health.facts)
    assert facts["γ, the weight of the block"] == "0.250"
    assert facts["change without the block (γ = 0)"] == "−0.080"
    assert facts["raw interclass noise"] == "0.62 × chance"
    assert facts["effective keys of a query, median"] == "172"


def test_a_block_that_costs_nothing_is_hardly_used():
    scores = {"miou": 0.657, "miou_gamma_0": 0.656, "miou_uniform": 0.657, "miou_mean": 0.658}
    health = attention_health(changed(camvid_val=scores))
    assert health.state == "hardly used" and "without the block" in health.sentence
    assert dict(health.facts)["change with the image's mean row in its place"] == "+0.001"


def test_a_block_that_needs_no_map_is_hardly_used():
    scores = ALIVE["camvid_val"] | {"miou_mean": 0.654}
    health = attention_health(changed(camvid_val=scores))
    assert health.state == "hardly used"
    assert health.sentence == "Hardly used: the network does as well with the image's mean row in its place."


def test_a_map_as_noisy_as_chance_is_hardly_used():
    noise = {"raw": {"interclass_noise": {"mean": 0.9, "chance": 0.909}}}
    assert attention_health(changed(attention=noise)).state == "hardly used"


def test_one_map_for_every_query_is_collapsed():
    assert attention_health(changed(query_dependence=0.02)).state == "collapsed"
    assert attention_health(changed(effective_keys=1.2)).state == "collapsed"


def test_a_card_without_figures_is_not_judged():
    health = attention_health({})
    assert health.state == "unknown" and health.facts == ()
    assert attention_health({"gamma": 0.3}).facts == (("γ, the weight of the block", "0.300"),)
