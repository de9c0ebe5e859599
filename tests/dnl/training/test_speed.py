from dnl.training.speed import WARM_UP, interleaved_times


def test_all_take_turns_in_changing_order_and_warm_up_is_not_counted():
    calls = []
    seconds = interleaved_times({name: lambda name=name: calls.append(name) for name in "abc"}, 20)
    rounds = [tuple(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert len(rounds) == WARM_UP + 20 and {"".join(sorted(names)) for names in rounds} == {"abc"}
    assert {names[0] for names in rounds} == set("abc")  # nobody always comes first
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 20)
