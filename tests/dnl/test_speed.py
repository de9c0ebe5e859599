from dnl.speed import WARM_UP, interleaved_times


def test_all_take_turns_and_warm_up_is_not_counted():
    calls = []
    seconds = interleaved_times({name: lambda name=name: calls.append(name) for name in "ab"}, 3)
    assert len(calls) == 2 * (WARM_UP + 3)
    assert all(set(calls[i : i + 2]) == {"a", "b"} for i in range(0, len(calls), 2))
    assert calls[:4] == ["b", "a", "a", "b"]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}
