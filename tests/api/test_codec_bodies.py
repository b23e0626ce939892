"""Request bodies: what is taken, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from coxswain.api import codec, errors
from coxswain.api.names import GVK

POD = GVK("", "v1", "Pod")
DEPLOYMENT = GVK("apps", "v1", "Deployment")
SERVICE = GVK("", "v1", "Service")
SECRET = GVK("", "v1", "Secret")
LEASE = GVK("coordination.k8s.io", "v1", "Lease")
WIDGET = GVK("example.com", "v1", "Widget")


def pod(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}


def refused(body: Any, gvk: GVK = POD, validation: str = "Strict", content_type: str = "") -> str:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(errors.BadRequest) as caught:
        codec.decode(data, content_type, gvk, validation)
    return caught.value.message


def taken(body: Any, gvk: GVK = POD, validation: str = "Strict", content_type: str = "") -> dict[str, Any]:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return codec.decode(data, content_type, gvk, validation).obj


HANDLED = 'Pod in version "v1" cannot be handled as a Pod: '
UNRECOGNIZED = "the object provided is unrecognized (must be of type Pod): "


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"containers": "x"}, "cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ({"containers": [1]}, "cannot unmarshal number into Go struct field PodSpec.spec.containers of type v1.Container"),
        ({"hostNetwork": "yes"}, "cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        ({"nodeName": 5}, "cannot unmarshal number into Go struct field PodSpec.spec.nodeName of type string"),
        ({"nodeName": True}, "cannot unmarshal bool into Go struct field PodSpec.spec.nodeName of type string"),
        ({"nodeName": {}}, "cannot unmarshal object into Go struct field PodSpec.spec.nodeName of type string"),
        ({"nodeName": []}, "cannot unmarshal array into Go struct field PodSpec.spec.nodeName of type string"),
        ({"priority": 2**31}, "cannot unmarshal number 2147483648 into Go struct field PodSpec.spec.priority of type int32"),
        ({"priority": 1.5}, "cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ({"terminationGracePeriodSeconds": "ten"}, "cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
        ({"nodeSelector": {"a": 1}}, "cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string"),
        ({"restartPolicy": 1}, "cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy"),
        (
            {"containers": [{"name": "c", "ports": [{"containerPort": "80"}]}]},
            "cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
    ],
)  # fmt: skip
def test_a_wrong_type_is_told_as_go_tells_it(spec: dict[str, Any], why: str) -> None:
    assert refused(pod(**spec)) == f"{HANDLED}json: {why}"


def test_the_first_wrong_type_wins_and_comes_before_unknown_fields() -> None:
    message = refused(pod(foo=1, nodeName=5, hostNetwork=1))
    assert "PodSpec.spec.nodeName" in message
    assert "unknown" not in message


@pytest.mark.parametrize("value", ["1x", "", " ", "1..2", True, {}, []])
def test_a_bad_quantity_shows_the_expression(value: Any) -> None:
    message = refused(pod(containers=[{"name": "c", "resources": {"requests": {"cpu": value}}}]))
    assert message.startswith((HANDLED + "quantities must match", HANDLED + "unable to parse"))


def test_quantities_become_canonical() -> None:
    limits = {"cpu": "1000m", "memory": "1024Mi", "x.y/z": 2, "half": 0.5}
    obj = taken(pod(containers=[{"name": "c", "resources": {"limits": limits}}]))
    made = obj["spec"]["containers"][0]["resources"]["limits"]
    assert made == {"cpu": "1", "memory": "1Gi", "x.y/z": "2", "half": "500m"}


@pytest.mark.parametrize(
    ("time", "why"),
    [
        ("yesterday", 'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"'),
        ("", 'parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006"'),
        ("2020-01-02", 'parsing time "2020-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T"'),
        ("2020-13-02T00:00:00Z", 'parsing time "2020-13-02T00:00:00Z": month out of range'),
        ("2021-02-29T00:00:00Z", 'parsing time "2021-02-29T00:00:00Z": day out of range'),
        ("2020-01-02T00:00:00Zx", 'parsing time "2020-01-02T00:00:00Zx": extra text: "x"'),
        (5, "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string"),
    ],
)  # fmt: skip
def test_a_bad_time_is_told_as_go_tells_it(time: Any, why: str) -> None:
    assert refused({**pod(), "metadata": {"creationTimestamp": time}}) == HANDLED + why


def test_times_are_written_in_utc_and_whole_seconds() -> None:
    obj = taken({**pod(), "metadata": {"creationTimestamp": "2020-01-02T01:30:00.75+02:00"}})
    assert obj["metadata"]["creationTimestamp"] == "2020-01-01T23:30:00Z"


def test_micro_times_need_six_decimals() -> None:
    lease = {"spec": {"renewTime": "2020-01-02T03:04:05.000006Z"}}
    assert taken(lease, LEASE)["spec"] == lease["spec"]
    message = refused({"spec": {"renewTime": "2020-01-02T03:04:05Z"}}, LEASE)
    assert message.endswith('cannot parse "Z" as ".000000"')


def test_int_or_string_takes_both_and_nothing_else() -> None:
    ports = [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}]
    assert taken({"spec": {"ports": ports}}, SERVICE)["spec"]["ports"] == ports
    message = refused({"spec": {"ports": [{"targetPort": True}]}}, SERVICE)
    assert message.endswith(
        "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32"
    )


@pytest.mark.parametrize(("text", "at"), [("a", 0), ("YQ=", 3), ("!!!!", 0), ("YWJj?", 4), ("YQ==YQ==", 4)])
def test_bad_base64_says_where(text: str, at: int) -> None:
    assert refused({"data": {"a": text}}, SECRET).endswith(f"illegal base64 data at input byte {at}")


def test_base64_may_have_line_breaks_which_go() -> None:
    assert taken({"data": {"a": "YW\nJj"}}, SECRET)["data"] == {"a": "YWJj"}


def test_unknown_fields_are_refused_warned_of_or_dropped() -> None:
    body = orjson.dumps(pod(containers=[{"name": "c", "imagee": "x"}], foo=1))
    unknown = ['unknown field "spec.containers[0].imagee"', 'unknown field "spec.foo"']
    assert refused(body) == f"{HANDLED}strict decoding error: {', '.join(unknown)}"
    warned = codec.decode(body, "application/json", POD, "Warn")
    assert warned.warnings == unknown
    ignored = codec.decode(body, "application/json", POD, "Ignore")
    assert ignored.warnings == []
    assert warned.obj == ignored.obj
    assert ignored.obj["spec"] == {"containers": [{"name": "c"}]}


def test_field_names_are_case_sensitive() -> None:
    assert refused({"spec": {"Type": "NodePort"}}, SERVICE).endswith('unknown field "spec.Type"')


def test_at_most_a_hundred_unknown_fields_are_told() -> None:
    body = orjson.dumps(pod(**{f"f{number}": 1 for number in range(150)}))
    assert len(codec.decode(body, "", POD, "Warn").warnings) == 100


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b'{"metadata":{"name":"x","name":"y"}}', ['duplicate field "metadata.name"']),
        (b'{"kind":"Pod","kind":"Pod"}', ['duplicate field "kind"']),
        (
            b'{"metadata":{"labels":{"a":"1","a":"2"}},"spec":{"foo":{"x":1,"x":2},"containers":[{"name":"c","name":"c"}]}}',
            ['duplicate field "metadata.labels.a"', 'unknown field "spec.foo"', 'duplicate field "spec.containers[0].name"'],
        ),
    ],
)  # fmt: skip
def test_duplicate_fields_are_found_in_order(body: bytes, messages: list[str]) -> None:
    assert codec.decode(body, "", POD, "Warn").warnings == messages
    assert refused(body).endswith("strict decoding error: " + ", ".join(messages))
    assert codec.decode(body, "", POD, "Ignore").warnings == []


def test_colons_and_quotes_inside_strings_are_not_duplicates() -> None:
    body = {**pod(), "metadata": {"annotations": {'a":"b': '{"x":1,"x":2}', "c\\": ':":'}}}
    assert codec.decode(orjson.dumps(body), "", POD, "Warn").warnings == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"),
        (b"{not json", "couldn't get version/kind; json parse error: invalid character 'n' looking for beginning of object key string ({not json)"),
        (b"hello", "couldn't get version/kind; json parse error: invalid character 'h' looking for beginning of value (68656c6c6f)"),
        (b"[]", "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type " + codec._META_STRUCT + " (5b5d)"),
        (b'{"kind":5}', "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\":5})"),
        (b'{"apiVersion":"a/b/c"}', 'unexpected GroupVersion string: a/b/c ({"apiVersion":"a/b/c"})'),
    ],
)  # fmt: skip
def test_what_is_not_an_object_is_unrecognized(body: bytes | str, why: bytes | str) -> None:
    assert refused(body) == UNRECOGNIZED + str(why)


def test_long_bodies_are_cut_in_messages() -> None:
    assert refused(b'{"metadata":{"name":"averylongname').endswith('({"metadata":{"name":"averylong ...)')


def test_a_body_without_kind_takes_the_endpoints() -> None:
    assert taken({"metadata": {"name": "p"}}) == {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "p"},
    }
    assert taken(b"null") == {"kind": "Pod", "apiVersion": "v1", "metadata": {}}


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (("v2", "Pod"), 'Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30"'),
        (("apps/v1", "Pod"), 'Pod in version "v1" cannot be handled as a Pod: no kind "Pod" is registered for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30"'),
        (("v1", "Service"), 'Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion'),
    ],
)  # fmt: skip
def test_another_kind_than_the_endpoints_is_refused(declared: tuple[str, str], message: str) -> None:
    api_version, kind = declared
    assert refused({"apiVersion": api_version, "kind": kind, "metadata": {}, "spec": {}}) == message


def test_another_version_of_the_kind_is_told_apart() -> None:
    hpa = GVK("autoscaling", "v2", "HorizontalPodAutoscaler")
    message = refused({"apiVersion": "autoscaling/v1", "kind": hpa.kind}, hpa)
    assert message == (
        "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)"
    )


def test_an_unknown_media_type_lists_those_accepted() -> None:
    with pytest.raises(errors.UnsupportedMediaType, match=r"application/vnd.kubernetes.protobuf"):
        codec.decode(b"x", "text/plain", POD, "Warn")
    with pytest.raises(errors.UnsupportedMediaType) as caught:
        codec.decode(b"x", "application/vnd.kubernetes.protobuf", WIDGET, "Warn", protobuf=False)
    assert caught.value.message.endswith("include: application/json, application/yaml")


def test_custom_resources_are_parsed_and_checked_for_duplicates_only() -> None:
    body = b'{"apiVersion":"example.com/v1","kind":"Widget","spec":{"a":null,"b":[{"c":1,"c":2}]}}'
    decoded = codec.decode(body, "application/json;charset=utf-8", WIDGET, "Warn")
    assert decoded.obj["spec"] == {"a": None, "b": [{"c": 2}]}
    assert decoded.warnings == ['duplicate field "spec.b[0].c"']


def test_nulls_and_empty_values_that_omitempty_drops_are_gone() -> None:
    obj = taken(
        {
            "metadata": {"labels": {}, "creationTimestamp": None, "name": "", "annotations": None},
            "spec": {"hostNetwork": False, "priority": 0, "volumes": [], "nodeSelector": {"a": None}, "containers": [None]},
        }
    )  # fmt: skip
    assert obj["metadata"] == {}
    # A pointer's zero stays; a null in a list or map is the zero value.
    assert obj["spec"] == {"priority": 0, "nodeSelector": {"a": ""}, "containers": [{}]}


def test_completing_adds_what_kubernetes_always_writes() -> None:
    obj = taken({"spec": {"containers": [{"name": "c"}]}})
    codec.complete(obj, POD)
    assert obj["spec"]["containers"] == [{"name": "c", "resources": {}}]
    assert obj["status"] == {}
    service = {"spec": {"ports": [{"port": 80}]}}
    codec.complete(service, SERVICE)
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": 0}]
    role: dict[str, Any] = {"metadata": {}, "rules": []}
    codec.complete(role, GVK("rbac.authorization.k8s.io", "v1", "Role"))
    assert role["rules"] is None


def test_completing_a_custom_resource_changes_nothing() -> None:
    obj: dict[str, Any] = {"spec": {}}
    codec.complete(obj, WIDGET)
    assert obj == {"spec": {}}


def test_a_patched_object_is_checked_like_a_body() -> None:
    patched = {**pod(containers=[], foo=1), "status": {"phase": ""}}
    made = codec.conform(patched, POD, "Warn")
    assert made.warnings == ['unknown field "spec.foo"']
    assert made.obj["status"] == {}
    with pytest.raises(errors.BadRequest, match=r"PodSpec\.spec\.nodeName"):
        codec.check_types(pod(nodeName=1), POD)


def test_encoding_puts_kind_version_and_metadata_first() -> None:
    raw = codec.encode({"spec": {}, "metadata": {"name": "x"}, "apiVersion": "v1", "kind": "Pod"})
    assert raw == b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"x"},"spec":{}}'


@pytest.mark.parametrize("metadata", [{}, {"name": "x", "labels": {"metadata": "y"}}])
def test_the_resource_version_is_spliced_into_bytes(metadata: dict[str, Any]) -> None:
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"metadata": {}}}
    spliced = orjson.loads(codec.splice_resource_version(codec.encode(obj), 42))
    assert spliced == {**obj, "metadata": {"resourceVersion": "42", **metadata}}


def test_schemas_of_custom_resources_are_cleaned_without_a_word() -> None:
    gvk = GVK("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    items = {"type": "object", "foo": 1, "properties": {"a": {"type": "string", "description": None}}}
    properties = {"list": {"type": "array", "items": items}, "free": {"additionalProperties": True}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"properties": properties}}}
    decoded = codec.decode(orjson.dumps({"spec": {"versions": [version]}}), "", gvk, "Warn")
    assert decoded.warnings == []
    made = decoded.obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert made["list"]["items"] == {"type": "object", "properties": {"a": {"type": "string"}}}
    assert made["free"] == {"additionalProperties": True}
