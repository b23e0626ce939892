"""Shelves of slices say what a look at every slice would say, however the slices come and go."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coxswain.api.names import Object
from coxswain.controllers.endpointslice.shelves import Shelves, ports_key

PORTS = ([{"port": 80}], [{"port": 80}, {"port": 81}], None)
STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcde"),
        st.none()
        | st.builds(
            lambda service, family, ports, size: {
                "service": service,
                "addressType": family,
                "ports": PORTS[ports],
                "endpoints": [{}] * size or None,
            },
            st.sampled_from(["x", "y", ""]),
            st.sampled_from(["IPv4", "IPv6"]),
            st.integers(0, 2),
            st.integers(0, 5),
        ),
    ),
    max_size=30,
)


def _services(one: Object) -> tuple[str, ...]:
    return (one["service"],) if one["service"] else ()


@given(STEPS, st.integers(1, 4), st.sets(st.sampled_from("abcde")))
def test_shelves_know_what_is_there(steps: list[tuple[str, Any]], count: int, besides: set[str]) -> None:
    shelves, there = Shelves(_services), dict[str, Object]()
    for name, new in steps:
        old = there.pop(name, None)
        if old is not None:
            shelves.drop(name, old)
        if new is not None:
            there[name] = {**new, "metadata": {"name": name}}
            shelves.insert(name, there[name])
    for service in "xy":
        for family in ("IPv4", "IPv6"):
            mine = [s for s in there.values() if (s["service"], s["addressType"]) == (service, family)]
            kinds = {ports_key(each["ports"]) for each in mine}
            shelf = shelves.only(service, family)
            assert (shelf is not None) == (len(kinds) == 1)
            if shelf is None:
                continue
            assert len(shelf) == len(mine)
            assert {shelf.key} == kinds == {ports_key(shelf.ports)}
            sizes = {each["metadata"]["name"]: len(each["endpoints"] or ()) for each in mine}
            assert shelf.is_empty == (not any(sizes.values()))
            room = [size for name, size in sizes.items() if name not in besides and size + count <= 5]
            found = shelf.fitting(count, 5, besides)
            if found is None:
                assert not room
            else:
                assert found["metadata"]["name"] not in besides
                assert len(found["endpoints"] or ()) == max(room)
    assert {service: set(keys) for service, keys in shelves.keys.items()} == {
        service: {name for name, each in there.items() if each["service"] == service}
        for service in "xy"
        if any(each["service"] == service for each in there.values())
    }
