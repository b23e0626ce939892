"""Server-printed tables say what kubectl users expect to read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coxswain.api import kinds
from coxswain.api.names import GVR, NODES, PODS
from coxswain.api.tables import table
from coxswain.api.tables.text import human_duration
from coxswain.base.clock import format_time

NOW = 1_800_000_000.0
CREATED = format_time(NOW - 90)


def cells(gvr: GVR, obj: dict, now: float = NOW) -> list:
    obj.setdefault("metadata", {}).setdefault("name", "x")
    obj["metadata"].setdefault("creationTimestamp", CREATED)
    return table(gvr, [obj], now=now)["rows"][0]["cells"]


def with_columns() -> list[GVR]:
    return [resource.gvr for resource in kinds.resources() if kinds.columns(resource.gvr)]


@pytest.mark.parametrize("gvr", with_columns(), ids=lambda gvr: f"{gvr.group}/{gvr.resource}")
def test_every_kind_fills_its_columns_even_from_an_empty_object(gvr):
    made = table(gvr, [{"metadata": {"name": "x", "creationTimestamp": CREATED}}], now=NOW)
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])
    assert "x" in made["rows"][0]["cells"]


def test_table_carries_metadata_and_objects():
    pod = {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "7", "creationTimestamp": CREATED}}
    made = table(PODS, [pod], now=NOW)
    assert (made["kind"], made["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert made["metadata"] == {"resourceVersion": "7"}
    assert made["columnDefinitions"][0] == {
        "name": "Name",
        "type": "string",
        "format": "name",
        "description": "",
        "priority": 0,
    }
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": pod["metadata"],
    }
    listed = table(PODS, [pod], now=NOW, include_object="Object", list_meta={"resourceVersion": "9"})
    assert listed["rows"][0]["object"] is pod
    assert listed["metadata"] == {"resourceVersion": "9"}
    assert table(PODS, [pod], now=NOW, include_object="None")["rows"][0]["object"] is None
    assert table(PODS, [], now=NOW)["rows"] == []


def test_kinds_without_a_printer_show_when_they_were_created():
    gvr = GVR("example.com", "v1", "things")
    assert [column["name"] for column in table(gvr, [], now=NOW)["columnDefinitions"]] == [
        "Name",
        "Created At",
    ]
    assert cells(gvr, {}) == ["x", CREATED]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (130, "2m10s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11000, "3h3m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
        (3000 * 86400, "8y"),
    ],
)
def test_durations_get_coarser_with_age(seconds, text):
    assert human_duration(seconds) == text


def waiting(reason):
    return {"waiting": {"reason": reason}}


def container(name="c", state=None, ready=False, restarts=0, last=None, **more):
    return {
        "name": name,
        "state": state or {},
        "ready": ready,
        "restartCount": restarts,
        "lastState": {"terminated": {"finishedAt": last}} if last else {},
        **more,
    }


def pod(phase="Running", containers=(), init=(), spec=None, **status):
    return {
        "spec": {"containers": [{"name": "c"}], **(spec or {})},
        "status": {
            "phase": phase,
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            **status,
        },
    }


RUNNING = {"running": {"startedAt": CREATED}}
TWO_INIT = {"initContainers": [{"name": "i"}, {"name": "j"}]}


@pytest.mark.parametrize(
    ("obj", "ready", "state"),
    [
        (pod("Pending"), "0/1", "Pending"),
        (pod(containers=[container(state=RUNNING, ready=True)]), "1/1", "Running"),
        (pod(containers=[container(state=waiting("CrashLoopBackOff"))]), "0/1", "CrashLoopBackOff"),
        (pod("Succeeded", [container(state={"terminated": {"reason": "Completed"}})]), "0/1", "Completed"),
        (pod("Failed", [container(state={"terminated": {"exitCode": 3}})]), "0/1", "ExitCode:3"),
        (pod("Failed", [container(state={"terminated": {"signal": 9}})]), "0/1", "Signal:9"),
        (pod("Failed", reason="Evicted"), "0/1", "Evicted"),
        (pod("Pending", init=[container("i", RUNNING)], spec=TWO_INIT), "0/1", "Init:0/2"),
        (
            pod(
                "Pending",
                init=[container("i", {"terminated": {"exitCode": 0}}), container("j")],
                spec=TWO_INIT,
            ),
            "0/1",
            "Init:1/2",
        ),
        (
            pod("Pending", init=[container("i", waiting("ImagePullBackOff"))], spec=TWO_INIT),
            "0/1",
            "Init:ImagePullBackOff",
        ),
        (
            pod(
                "Pending",
                init=[container("i", {"terminated": {"exitCode": 1, "reason": "Error"}})],
                spec=TWO_INIT,
            ),
            "0/1",
            "Init:Error",
        ),
        (
            pod(
                containers=[container(state=RUNNING, ready=True)],
                init=[container("i", RUNNING, ready=True, started=True)],
                spec={"initContainers": [{"name": "i", "restartPolicy": "Always"}]},
            ),
            "2/2",
            "Running",
        ),
        (
            pod(
                "Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
            ),
            "0/1",
            "SchedulingGated",
        ),
        (
            pod(
                containers=[
                    container("a", {"terminated": {"reason": "Completed"}}),
                    container("b", RUNNING, ready=True),
                ],
                spec={"containers": [{"name": "a"}, {"name": "b"}]},
            ),
            "1/2",
            "NotReady",
        ),
    ],
)
def test_pod_status(obj, ready, state):
    assert cells(PODS, obj)[1:3] == [ready, state]


def test_a_deleted_pod_is_terminating_until_it_has_ended():
    gone = {"deletionTimestamp": CREATED}
    assert cells(PODS, {"metadata": dict(gone), **pod()})[2] == "Terminating"
    assert cells(PODS, {"metadata": dict(gone), **pod("Succeeded")})[2] == "Succeeded"
    assert cells(PODS, {"metadata": dict(gone), **pod(reason="NodeLost")})[2] == "Unknown"


def test_restarts_say_when():
    last = format_time(NOW - 300)
    obj = pod(containers=[container(state=RUNNING, ready=True, restarts=4, last=last)])
    assert cells(PODS, obj)[3] == "4 (5m ago)"
    assert cells(PODS, pod(containers=[container(restarts=2)]))[3] == "2"


def test_wide_pod_columns():
    obj = pod(
        spec={"nodeName": "n1", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        podIPs=[{"ip": "10.0.0.1"}],
        nominatedNodeName="n2",
        conditions=[{"type": "a", "status": "True"}],
    )
    assert cells(PODS, obj)[4:] == ["90s", "10.0.0.1", "n1", "n2", "1/2"]


def test_ended_pods_are_marked():
    row = table(PODS, [{"metadata": {"name": "x"}, **pod("Failed")}], now=NOW)["rows"][0]
    assert row["conditions"][0]["reason"] == "Failed"


def test_nodes():
    obj = {
        "metadata": {"labels": {"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a"}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Debian"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    assert cells(NODES, obj) == [
        "x",
        "NotReady,SchedulingDisabled",
        "a,b",
        "90s",
        "v1.36.2",
        "10.0.0.1",
        "<none>",
        "Debian",
        "<unknown>",
        "<unknown>",
    ]


@pytest.mark.parametrize(
    ("spec", "status", "external"),
    [
        ({"type": "ClusterIP"}, {}, "<none>"),
        ({"type": "NodePort", "externalIPs": ["1.1.1.1"]}, {}, "1.1.1.1"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        (
            {"type": "LoadBalancer"},
            {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "a.b"}]}},
            "2.2.2.2,a.b",
        ),
        ({"type": "ExternalName", "externalName": "db.example"}, {}, "db.example"),
    ],
)
def test_external_addresses_of_services(spec, status, external):
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]
    shown = cells(
        GVR("", "v1", "services"),
        {"spec": {**spec, "ports": ports, "selector": {"b": "1", "a": "2"}}, "status": status},
    )
    assert shown[3:5] == [external, "80/TCP,53:30053/UDP"]
    assert shown[6] == "a=2,b=1"


def test_workloads():
    template = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}
    obj = {
        "spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "x"}}},
        "status": {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1, "replicas": 3},
    }
    assert cells(GVR("apps", "v1", "deployments"), obj) == ["x", "1/3", 2, 1, "90s", "a,b", "i,j", "app=x"]
    assert cells(GVR("apps", "v1", "replicasets"), obj) == ["x", 3, 3, 1, "90s", "a,b", "i,j", "app=x"]
    assert cells(GVR("apps", "v1", "statefulsets"), obj) == ["x", "1/3", "90s", "a,b", "i,j"]
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    revision = {"metadata": {"ownerReferences": [owner]}, "revision": 2}
    assert cells(GVR("apps", "v1", "controllerrevisions"), revision)[1:3] == ["statefulset.apps/db", 2]


def test_jobs():
    jobs = GVR("batch", "v1", "jobs")
    started = {"startTime": format_time(NOW - 600), "completionTime": format_time(NOW - 300), "succeeded": 1}
    done = {
        "spec": {"completions": 2},
        "status": {**started, "conditions": [{"type": "Complete", "status": "True"}]},
    }
    assert cells(jobs, done)[1:4] == ["Complete", "1/2", "5m"]
    assert cells(jobs, {"spec": {"parallelism": 3}})[1:4] == ["Running", "0/1 of 3", ""]
    cron = {"spec": {"schedule": "* * * * *", "suspend": False}, "status": {"active": [{}]}}
    assert cells(GVR("batch", "v1", "cronjobs"), cron)[1:6] == ["* * * * *", "<none>", "False", 1, "<none>"]


def test_long_lists_are_shortened():
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(5)]
    endpoints = {"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    shown = cells(GVR("", "v1", "endpoints"), endpoints)[1]
    assert shown == "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more..."


def test_storage():
    volume = {
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
            "claimRef": {"namespace": "n", "name": "c"},
        },
        "status": {"phase": "Bound"},
    }
    shown = cells(GVR("", "v1", "persistentvolumes"), volume)
    assert shown[1:6] == ["1Gi", "RWO,RWX", "", "Bound", "n/c"]
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    assert (
        cells(GVR("storage.k8s.io", "v1", "storageclasses"), {"metadata": {"annotations": annotations}})[0]
        == "x (default)"
    )


def test_autoscaler_targets():
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    seen = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 20}}}
    pods = {"type": "Pods", "pods": {"target": {"averageValue": "4"}}}
    obj = {"spec": {"metrics": [cpu, pods, pods], "maxReplicas": 3}, "status": {"currentMetrics": [seen]}}
    gvr = GVR("autoscaling", "v2", "horizontalpodautoscalers")
    assert cells(gvr, obj)[2] == "cpu: 20%/80%, <unknown>/4 + 1 more..."


def test_events_of_both_groups():
    old = {
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "R",
        "message": " m\n",
        "count": 3,
        "firstTimestamp": format_time(NOW - 60),
        "lastTimestamp": format_time(NOW - 5),
        "source": {"component": "c", "host": "h"},
    }
    assert cells(GVR("", "v1", "events"), old) == ["5s", "", "R", "pod/p", "", "c, h", "m", "60s", 3, "x"]
    new = {"regarding": {"kind": "Pod", "name": "p"}, "note": "m", "eventTime": "2027-01-15T07:59:50.000000Z"}
    assert cells(GVR("events.k8s.io", "v1", "events"), new)[0] == "10s"


def test_custom_columns():
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {
            "name": "Ready",
            "type": "string",
            "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
            "priority": 1,
        },
        {"name": "Image", "type": "string", "jsonPath": ".spec.list[0]['a.b/c']"},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    obj = {
        "metadata": {"name": "w", "creationTimestamp": CREATED},
        "spec": {"size": 3, "list": [{"a.b/c": "i"}]},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    made = table(GVR("x.io", "v1", "widgets"), [obj], now=NOW, columns=columns)
    assert made["rows"][0]["cells"] == ["w", 3, "True", "i", None, "90s"]
    assert [column["priority"] for column in made["columnDefinitions"]] == [0, 0, 1, 0, 0, 0]
    plain = table(GVR("x.io", "v1", "widgets"), [obj], now=NOW, columns=[])
    assert plain["rows"][0]["cells"] == ["w", "90s"]


@given(st.text(alphabet=".[]?()@='\"ab0*$-", max_size=20))
def test_any_path_is_survived(path):
    table(
        GVR("x.io", "v1", "w"),
        [{"metadata": {"name": "w"}, "a": [{"b": 1}]}],
        now=NOW,
        columns=[{"jsonPath": path}],
    )
