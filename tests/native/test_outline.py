"""Objects of one outline have the same owners of fields: the compiled outline against what it stands for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from coxswain._native.outline import outline
from coxswain.api import schema
from coxswain.api.managedfields.update import changes, created
from coxswain.api.names import GVK

POD = GVK("", "v1", "Pod")

#: What tells elements of lists apart in these tests.
KEY = "a"

_names = st.sampled_from(["a", "b", "spec", "f:a", "."])
_scalars = st.sampled_from(["", "0", "x", "y", 0, 1, 2.5, 0.0, True, False, None])
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=12,
)
_objects = st.dictionaries(_names, _values, max_size=4)


def _twin(value: Any, in_list: bool = False) -> Any:
    """The outline as a nested value: what it keeps of ``value``."""
    if isinstance(value, dict):
        return [
            (name, repr(below) if in_list and name == KEY and _is_scalar(below) else _twin(below, in_list))
            for name, below in value.items()
        ]
    if isinstance(value, list):
        if not value or not isinstance(value[0], dict):
            return repr(value)
        return ["a list", *(_twin(each, True) if isinstance(each, dict) else repr(each) for each in value)]
    if value is None or value is False or value == "" or value == "0":
        return repr(value)
    return "a scalar" if value else "zero"


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, dict | list)


@given(_objects, _objects)
def test_outlines_are_equal_where_the_twins_are(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (outline(left, {KEY}) == outline(right, {KEY})) == (_twin(left) == _twin(right))


_texts = st.sampled_from(["", "x", "y"])
_env = st.fixed_dictionaries({"name": st.sampled_from(["e", "f"])}, optional={"value": _texts})
_ports = st.fixed_dictionaries(
    {"containerPort": st.sampled_from([3, 80])},
    optional={"protocol": st.sampled_from(["TCP", "UDP"]), "name": _texts},
)
_containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["c", "d"])},
    optional={
        "image": _texts,
        "command": st.lists(_texts, max_size=2),
        "env": st.lists(_env, max_size=2, unique_by=lambda each: each["name"]),
        "ports": st.lists(_ports, max_size=2),
    },
)
_pods = st.fixed_dictionaries(
    {"apiVersion": st.just("v1"), "kind": st.just("Pod")},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"name": _texts, "labels": st.dictionaries(st.sampled_from("ab"), _texts)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(_containers, max_size=2, unique_by=lambda each: each["name"]),
                "nodeName": _texts,
                "hostNetwork": st.booleans(),
                "priority": st.sampled_from([0, 1, None]),
                "securityContext": st.just({}) | st.fixed_dictionaries({"runAsUser": st.integers(0, 1)}),
            },
        ),
    },
)


@given(st.lists(_pods, min_size=2, max_size=6))
def test_what_is_remembered_by_outline_is_what_would_be_worked_out(pods: list[dict[str, Any]]) -> None:
    kind = schema.type_of(POD)
    assert kind is not None
    for pod in pods:
        assert created(pod, kind, "") == changes(None, pod, kind, "")[0]
