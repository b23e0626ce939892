"""Patches change what they say, share the rest, and fail in the API server's words."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import schema
from coxswain.api.errors import ApiError, BadRequest, Invalid, RequestTooLarge
from coxswain.api.names import GVK
from coxswain.api.patch import json_patch, merge_patch, strategic_merge_patch

POD = schema.type_of(GVK("", "v1", "Pod"))
DEPLOYMENT = schema.type_of(GVK("apps", "v1", "Deployment"))


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/b", "value": 1}], {"a": [1, 2], "o": {"x": 1}, "b": 1}),
        ([{"op": "add", "path": "/a/-", "value": 3}], {"a": [1, 2, 3], "o": {"x": 1}}),
        ([{"op": "add", "path": "/a/0", "value": 0}], {"a": [0, 1, 2], "o": {"x": 1}}),
        ([{"op": "add", "path": "/a/2", "value": 3}], {"a": [1, 2, 3], "o": {"x": 1}}),
        ([{"op": "remove", "path": "/a/-1"}], {"a": [1], "o": {"x": 1}}),
        ([{"op": "replace", "path": "/o/x", "value": None}], {"a": [1, 2], "o": {"x": None}}),
        ([{"op": "move", "from": "/o/x", "path": "/y"}], {"a": [1, 2], "o": {}, "y": 1}),
        ([{"op": "copy", "from": "/o", "path": "/p"}], {"a": [1, 2], "o": {"x": 1}, "p": {"x": 1}}),
        ([{"op": "add", "path": "/o/a~1b~0c", "value": 1}], {"a": [1, 2], "o": {"x": 1, "a/b~c": 1}}),
        ([{"op": "test", "path": "/a", "value": [1, 2]}], {"a": [1, 2], "o": {"x": 1}}),
        ([{"op": "test", "path": "/gone", "value": None}], {"a": [1, 2], "o": {"x": 1}}),
        (None, {"a": [1, 2], "o": {"x": 1}}),
    ],
)
def test_json_patch(operations, result):
    obj = {"a": [1, 2], "o": {"x": 1}}
    before = copy.deepcopy(obj)
    assert json_patch(obj, operations) == result
    assert obj == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": [1]},
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/gone", "value": 1},
        {"op": "add", "path": "/gone/x", "value": 1},
        {"op": "add", "path": "/a/5", "value": 1},
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "add", "path": "b", "value": 1},
        {"op": "bogus", "path": "/a"},
        {"op": "copy", "from": "/gone", "path": "/a"},
        {"path": "/a"},
    ],
)
def test_json_patch_that_does_not_fit_is_unprocessable(operation):
    with pytest.raises(Invalid) as error:
        json_patch({"a": [1, 2]}, [operation])
    assert error.value.status()["details"] == {}
    assert error.value.message == "the server rejected our request due to an error in our request"


def test_json_patch_must_be_a_list_of_operations():
    with pytest.raises(BadRequest) as error:
        json_patch({}, {"op": "add"})
    assert (
        error.value.message
        == "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    )
    with pytest.raises(BadRequest, match=r"Go struct field jsonPatchOp\.op of type string"):
        json_patch({}, [{"op": 1}])


def test_json_patch_is_bounded():
    with pytest.raises(RequestTooLarge):
        json_patch({}, [{"op": "add", "path": "/a", "value": 1}] * 10_001)
    doubling = [{"op": "add", "path": "/a", "value": {"x": "y" * 100}}]
    doubling += [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(40)]
    with pytest.raises(Invalid):
        json_patch({}, doubling)


def test_merge_patch():
    obj = {"a": {"b": 1, "c": 2}, "l": [1], "k": {"z": 1}}
    patched = merge_patch(obj, {"a": {"b": None, "d": {"e": None, "f": 1}}, "l": [2], "n": {"x": None}})
    assert patched == {"a": {"c": 2, "d": {"f": 1}}, "l": [2], "k": {"z": 1}, "n": {}}
    assert obj == {"a": {"b": 1, "c": 2}, "l": [1], "k": {"z": 1}}
    assert patched["k"] is obj["k"]
    with pytest.raises(BadRequest, match="cannot unmarshal array into Go value"):
        merge_patch({}, [])


def pod(**spec):
    return {
        "metadata": {"finalizers": ["a", "b"]},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }


def patched_spec(obj, patch):
    before = copy.deepcopy(obj)
    result = strategic_merge_patch(obj, {"spec": patch}, POD)
    assert obj == before
    return result["spec"]


def test_lists_of_objects_merge_by_key():
    spec = patched_spec(
        pod(),
        {"containers": [{"name": "c", "image": "j", "env": [{"name": "A", "value": None}]}, {"name": "d"}]},
    )
    assert spec["containers"] == [{"name": "c", "image": "j", "env": [{"name": "A"}]}, {"name": "d"}]


def test_new_elements_come_first_where_nothing_says_otherwise():
    obj = pod(volumes=[{"name": "a"}, {"name": "b"}, {"name": "c"}])
    spec = patched_spec(obj, {"volumes": [{"name": "x"}, {"name": "b", "emptyDir": {}}]})
    assert [volume["name"] for volume in spec["volumes"]] == ["x", "a", "b", "c"]


def test_elements_are_deleted_and_lists_replaced_by_directive():
    obj = pod(volumes=[{"name": "a"}, {"name": "b"}])
    assert patched_spec(obj, {"volumes": [{"$patch": "delete", "name": "a"}]})["volumes"] == [{"name": "b"}]
    assert patched_spec(obj, {"volumes": [{"$patch": "replace"}, {"name": "z"}]})["volumes"] == [
        {"name": "z"}
    ]


def test_lists_without_a_merge_key_are_replaced():
    obj = pod(tolerations=[{"key": "a"}])
    assert patched_spec(obj, {"tolerations": [{"key": "b"}]})["tolerations"] == [{"key": "b"}]


def test_lists_of_scalars_merge_as_sets():
    result = strategic_merge_patch(pod(), {"metadata": {"finalizers": ["c", "a"]}}, POD)
    assert result["metadata"]["finalizers"] == ["c", "a", "b"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic_merge_patch(pod(), patch, POD)["metadata"]["finalizers"] == ["b"]


def test_element_order_is_kept():
    obj = pod(volumes=[{"name": "a"}, {"name": "b"}, {"name": "server"}])
    patch = {
        "$setElementOrder/volumes": [{"name": "n"}, {"name": "b"}, {"name": "a"}],
        "volumes": [{"name": "n"}, {"name": "a", "emptyDir": {}}],
    }
    volumes = patched_spec(obj, patch)["volumes"]
    assert [volume["name"] for volume in volumes] == ["n", "b", "a", "server"]
    assert volumes[2]["emptyDir"] == {}
    swapped = {**patch, "volumes": [{"name": "a"}, {"name": "n"}]}
    with pytest.raises(ApiError, match=r"doesn't match \$setElementOrder list"):
        patched_spec(obj, swapped)


def test_retain_keys_drops_the_others():
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}
    patch["spec"]["strategy"]["rollingUpdate"] = {}
    with pytest.raises(BadRequest, match="invalid patch format of retainKeys"):
        strategic_merge_patch(live, patch, DEPLOYMENT)


def test_objects_are_replaced_or_emptied_by_directive():
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$patch": "replace", "type": "Recreate"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}
    patch = {"spec": {"strategy": {"$patch": "delete"}}}
    assert strategic_merge_patch(live, patch, DEPLOYMENT) == {"spec": {"strategy": {}}}


@pytest.mark.parametrize(
    ("patch", "code", "reason", "message"),
    [
        # Kubernetes answers a missing merge key with a bare 500.
        (
            {"containers": [{"image": "c"}]},
            400,
            "BadRequest",
            "map: map[image:c] does not contain declared merge key: name",
        ),
        (
            {"containers": [{"name": "c", "$patch": "bogus"}]},
            400,
            "BadRequest",
            "unknown patch type: bogus in map: map[$patch:bogus name:c]",
        ),
        (
            {"securityContext": {"$patch": "merge"}},
            400,
            "BadRequest",
            "unknown patch type: merge in map: map[$patch:merge]",
        ),
    ],
)
def test_unusable_strategic_patches_are_refused(patch, code, reason, message):
    with pytest.raises(ApiError) as error:
        patched_spec(pod(securityContext={}), patch)
    assert (error.value.code, error.value.reason, error.value.message) == (code, reason, message)


def test_bottomless_patches_are_refused():
    patch: dict = {}
    for _ in range(5000):
        patch = {"a": patch}
    for apply in (merge_patch, lambda obj, change: strategic_merge_patch(obj, change, None)):
        with pytest.raises(BadRequest, match="max depth"):
            apply({}, patch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def without_nulls(value):
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return value


@given(OBJECTS, OBJECTS)
def test_merge_patch_is_idempotent(obj, patch):
    once = merge_patch(obj, patch)
    assert merge_patch(once, patch) == once


@given(OBJECTS)
def test_a_merge_patch_over_nothing_is_itself_without_nulls(patch):
    assert merge_patch({}, patch) == without_nulls(patch)


@given(
    OBJECTS,
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
            optional={
                "path": st.sampled_from(["", "/a", "/a/0", "/b/-", "/c/d"]),
                "from": st.sampled_from(["/a", "/b/0"]),
                "value": JSON,
            },
        ),
        max_size=4,
    ),
)
def test_json_patches_never_change_their_input(obj, operations):
    before = copy.deepcopy(obj)
    try:
        json_patch(obj, operations)
    except ApiError:
        pass
    assert obj == before
