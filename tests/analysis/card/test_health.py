from analysis.card.health import attention_health

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
    assert health.sentence == (
        "Alive: mean IoU on CamVid val falls from 0.655 to 0.575 without the block (γ = 0), to 0.614 with uniform "
        "attention in its place and to 0.631 with the image's mean row in its place."
    )
    facts = dict(health.facts)
    assert facts["γ, the weight of the block"] == "0.250"
    assert facts["change without the block (γ = 0)"] == "−0.080"
    assert facts["raw interclass noise"] == "0.62 × chance"
    assert facts["effective keys of a query, median"] == "172"


def test_a_block_that_costs_nothing_is_hardly_used():
    scores = {"miou": 0.657, "miou_gamma_0": 0.656, "miou_uniform": 0.657, "miou_mean": 0.658}
    health = attention_health(changed(camvid_val=scores))
    assert health.state == "hardly used"
    assert health.sentence.startswith(
        "Hardly used: mean IoU on CamVid val is 0.657, and still 0.656 without the block (γ = 0), 0.657 "
    )
    assert dict(health.facts)["change with the image's mean row in its place"] == "+0.001"


def test_a_block_that_needs_no_map_is_hardly_used():
    scores = ALIVE["camvid_val"] | {"miou_mean": 0.654}
    health = attention_health(changed(camvid_val=scores))
    assert health.state == "hardly used"
    assert health.sentence == (
        "Hardly used: mean IoU on CamVid val is 0.655, and still 0.654 with the image's mean row in its place."
    )


def test_a_map_as_noisy_as_chance_is_hardly_used():
    noise = {"raw": {"interclass_noise": {"mean": 0.9, "chance": 0.909}}}
    health = attention_health(changed(attention=noise))
    assert health.state == "hardly used" and "(0.99 ×)" in health.sentence


def test_one_map_for_every_query_is_collapsed():
    assert attention_health(changed(query_dependence=0.02)).state == "collapsed"
    assert attention_health(changed(effective_keys=1.2)).state == "collapsed"


def test_a_network_that_is_nothing_without_its_block_says_how_little():
    scores = {"miou": 0.7301, "miou_gamma_0": 0.0032}
    assert attention_health({"camvid_val": scores}).sentence == (
        "Alive: mean IoU on CamVid val falls from 0.730 to 0.003 without the block (γ = 0)."
    )


def test_a_card_without_figures_is_not_judged():
    health = attention_health({})
    assert health.state == "unknown" and health.facts == ()
    assert attention_health({"gamma": 0.3}).facts == (("γ, the weight of the block", "0.300"),)


def test_the_judgement_rests_on_test_where_it_was_measured():
    scores = {"miou": 0.6, "miou_gamma_0": 0.5}
    health = attention_health(changed(camvid_test=scores))
    assert health.sentence == "Alive: mean IoU on CamVid test falls from 0.600 to 0.500 without the block (γ = 0)."
    assert dict(health.facts)["mean IoU on CamVid test"] == "0.600"
    # A score alone does not say what the attention is worth.
    assert dict(attention_health(changed(camvid_test={"miou": 0.6})).facts)["mean IoU on CamVid val"] == "0.655"
