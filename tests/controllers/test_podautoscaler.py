"""Autoscalers: the replicas that metrics ask for, how fast they may change, conditions, and quiet when all is well."""

from __future__ import annotations

from typing import Any

import pytest

from controllerbench import running
from coxswain.api import meta
from coxswain.api.errors import Conflict, NotFound
from coxswain.api.names import DEPLOYMENTS, EVENTS, GVR, PODS, Object
from coxswain.base import clock, metrics
from coxswain.controllers.podautoscaler.controller import AUTOSCALERS, DESCRIPTOR
from coxswain.controllers.podautoscaler.limits import (
    History,
    Range,
    limit_by_behavior,
    limit_plainly,
    note_scaling,
)
from coxswain.controllers.podautoscaler.metrics_api import POD_METRICS
from coxswain.controllers.podautoscaler.replicas import (
    Readiness,
    Situation,
    Tolerance,
    by_average,
    by_share,
    by_utilization,
    by_value,
)
from coxswain.controllers.podautoscaler.samples import MetricsError, PodSample, go_selector
from fakeapi import FakeApi

CUSTOM_PODS = GVR("custom.metrics.k8s.io", "v1beta2", "pods")
CUSTOM_SERVICES = GVR("custom.metrics.k8s.io", "v1beta2", "services")
QUEUE = GVR("external.metrics.k8s.io", "v1beta1", "queue_length")
NOW = 10_000.0


def pod(name: str, *, cpu: str = "100m", phase: str = "Running", ready: str = "True", **more: Any) -> Object:
    """A pod that started long ago and has been as it is ever since."""
    since = clock.format_time(more.pop("since", 0.0))
    return {
        "metadata": {"name": name, "namespace": "d", "labels": {"app": "web"}, **more.pop("metadata", {})},
        "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}],
            **more.pop("spec", {}),
        },
        "status": {
            "phase": phase,
            "startTime": clock.format_time(more.pop("started", 0.0)),
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}],
        },
    }


def situation(*pods: Object, replicas: int | None = None, tolerance: float = 0.1) -> Situation:
    count = len(pods) if replicas is None else replicas
    return Situation(count, count, pods, Tolerance(tolerance, tolerance), Readiness(300, 30), NOW)


def samples(**values: int) -> dict[str, PodSample]:
    return {name: PodSample(value, NOW, 30) for name, value in values.items()}


@pytest.mark.parametrize(
    ("used", "wanted"),
    [
        ((50, 50, 50), 3),  # on target
        ((54, 54, 54), 3),  # within the tolerance
        ((60, 60, 60), 4),  # 1.2 * 3
        ((100, 100, 100), 6),
        ((10, 10, 10), 1),
        ((46, 46, 46), 3),
        ((44, 44, 44), 3),  # 0.88 * 3, rounded up
        ((0, 0, 0), 0),
    ],
)
def test_replicas_follow_the_ratio(used: tuple[int, int, int], wanted: int) -> None:
    pods = [pod(name) for name in "abc"]
    found = by_utilization(situation(*pods), samples(**dict(zip("abc", used, strict=True))), "cpu", 50)
    assert found.replicas == wanted
    assert found.utilization == sum(used) * 100 // 300


def test_pods_without_metrics_use_nothing_on_the_way_up_and_all_on_the_way_down() -> None:
    at = situation(*(pod(name) for name in "abcd"))
    assert by_utilization(at, samples(a=100, b=100), "cpu", 50).replicas == 4  # 2.0, with them 1.0
    assert by_utilization(at, samples(a=100, b=100, c=100), "cpu", 50).replicas == 6
    assert by_utilization(at, samples(a=10, b=10, c=10), "cpu", 50).replicas == 3  # 0.2, with it 0.65
    assert by_average(at, samples(a=10, b=10, c=10), 50).replicas == 2  # (30 + 50) / 4 / 50


def test_unready_pods_count_only_against_growing() -> None:
    at = situation(pod("a"), pod("b"), pod("new", phase="Pending"))
    assert by_utilization(at, samples(a=100, b=100), "cpu", 50).replicas == 4  # 2.0, with it 1.33
    assert by_utilization(at, samples(a=10, b=10), "cpu", 50).replicas == 1
    starting = pod("s", started=NOW - 60, since=NOW - 20)  # ready, but no whole sample since
    assert by_utilization(situation(pod("a"), starting), samples(a=100, s=900), "cpu", 50).replicas == 2
    settled = pod("s", started=NOW - 60, since=NOW - 40)
    assert by_utilization(situation(pod("a"), settled), samples(a=100, s=100), "cpu", 50).replicas == 4
    never = pod("n", ready="False", started=NOW - 4000, since=NOW - 3990)
    assert by_utilization(situation(pod("a"), never), samples(a=50, n=900), "cpu", 50).replicas == 2
    broken = pod("n", ready="False", started=NOW - 4000, since=NOW - 10)
    assert by_utilization(situation(pod("a"), broken), samples(a=50, n=150), "cpu", 50).replicas == 4


def test_pods_that_go_do_not_count() -> None:
    going = pod("g", metadata={"deletionTimestamp": "1970-01-01T00:00:00Z"})
    at = situation(pod("a"), going, pod("f", phase="Failed"))
    assert by_utilization(at, samples(a=100, g=999, f=999), "cpu", 50).replicas == 2


def test_what_cannot_be_computed_is_said() -> None:
    def said(at: Situation, *arguments: Any) -> str:
        with pytest.raises(MetricsError) as failure:
            by_utilization(at, *arguments)
        return str(failure.value)

    bare = pod("a")
    bare["spec"]["containers"][0].pop("resources")
    assert said(situation(), samples(), "cpu", 50).startswith("no pods returned by selector")
    assert said(situation(pod("a")), samples(), "cpu", 50).startswith("did not receive metrics")
    missing = "missing request for cpu in container c of Pod a"
    assert said(situation(bare), samples(a=1), "cpu", 50) == missing
    assert said(situation(pod("a")), samples(a=1), "cpu", 50, "x") == "container x not found in Pod a"


def test_values_and_shares() -> None:
    at = situation(*(pod(name) for name in "ab"))
    assert by_value(at, 300, 100).replicas == 6
    assert by_value(at, 105, 100).replicas == 2
    assert by_value(situation(replicas=0), 250, 100).replicas == 3
    share = by_share(at, 1000, 100)
    assert (share.replicas, share.amount) == (10, 500)


def test_without_behavior_down_takes_five_minutes_and_up_doubles() -> None:
    history, within = History([(0.0, 6)]), Range(6, 2, 20)
    held = limit_plainly(1, within, history, 300, 60)
    assert (held.replicas, held.able[0]) == (6, "ScaleDownStabilized")
    down = limit_plainly(1, within, history, 300, 400)
    assert (down.replicas, down.limited, down.limit[0]) == (2, True, "TooFewReplicas")
    up = limit_plainly(50, within, history, 300, 500)
    assert (up.replicas, up.limit[0]) == (12, "ScaleUpLimit")
    assert limit_plainly(50, Range(15, 2, 20), history, 300, 500).limit[0] == "TooManyReplicas"


def test_policies_limit_the_change_in_their_period() -> None:
    behavior = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleDown": {
            "stabilizationWindowSeconds": 0,
            "policies": [
                {"type": "Percent", "value": 50, "periodSeconds": 60},
                {"type": "Pods", "value": 1, "periodSeconds": 60},
            ],
            "selectPolicy": "Min",
        },
    }
    history = History()
    up = limit_by_behavior(20, Range(4, 1, 30), history, behavior, 300, 0)
    assert (up.replicas, up.limited, up.limit[0]) == (6, True, "ScaleUpLimit")
    note_scaling(history, behavior, 4, 6, 0)
    assert limit_by_behavior(20, Range(6, 1, 30), history, behavior, 300, 30).replicas == 6
    assert limit_by_behavior(20, Range(6, 1, 30), history, behavior, 300, 61).replicas == 8
    down = limit_by_behavior(1, Range(8, 1, 30), History(), behavior, 300, 0)
    assert (down.replicas, down.limit[0]) == (7, "ScaleDownLimit")
    behavior["scaleDown"]["selectPolicy"] = "Disabled"
    assert limit_by_behavior(1, Range(8, 1, 30), History(), behavior, 300, 0).replicas == 8


def test_windows_hold_back_both_ways() -> None:
    behavior = {
        "scaleUp": {"stabilizationWindowSeconds": 60},
        "scaleDown": {"stabilizationWindowSeconds": 120},
    }
    history = History([(0.0, 4)])
    up = limit_by_behavior(8, Range(4, 1, 30), history, behavior, 300, 30)
    assert (up.replicas, up.able[0]) == (4, "ScaleUpStabilized")
    assert limit_by_behavior(8, Range(4, 1, 30), history, behavior, 300, 61).replicas == 8
    down = limit_by_behavior(2, Range(8, 1, 30), history, behavior, 300, 100)
    assert (down.replicas, down.able[0]) == (8, "ScaleDownStabilized")


def test_selectors_are_written_as_go_does() -> None:
    assert go_selector(None) == "nil"
    assert (
        go_selector({"matchLabels": {"a": "b"}})
        == "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}"
    )


# --- the shell ---------------------------------------------------------------------------------------------


def world(replicas: int = 2, metrics: list[Object] | None = None, **spec: Any) -> FakeApi:
    api = FakeApi()
    api.add(
        DEPLOYMENTS,
        {
            "metadata": {"name": "web", "namespace": "d"},
            "spec": {"replicas": replicas},
            "status": {"replicas": replicas, "selector": "app=web"},
        },
    )
    for number in range(replicas):
        api.add(PODS, pod(f"web-{number}"))
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    if metrics is None:
        metrics = [cpu(50)]
    api.add(
        AUTOSCALERS,
        {
            "metadata": {"name": "web", "namespace": "d"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 10, "metrics": metrics, **spec},
        },
    )
    return api


def cpu(percent: int) -> Object:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def use(api: FakeApi, *amounts: str) -> None:
    """Publish what the pods use."""
    for number, amount in enumerate(amounts):
        name = f"web-{number}"
        if api.exists(POD_METRICS, name, "d"):
            api.remove(POD_METRICS, name, "d")
        metrics = {
            "metadata": {"name": name, "namespace": "d", "labels": {"app": "web"}},
            "timestamp": clock.timestamp(),
            "window": "30s",
            "containers": [{"name": "c", "usage": {"cpu": amount}}],
        }
        api.add(POD_METRICS, metrics)


def status(api: FakeApi) -> Object:
    return api.object(AUTOSCALERS, "web", "d")["status"]


def condition(api: FakeApi, kind: str) -> tuple[str, str, str]:
    found = meta.condition(api.object(AUTOSCALERS, "web", "d"), kind)
    assert found is not None
    return found["status"], found["reason"], found["message"]


def replicas(api: FakeApi) -> int:
    return api.object(DEPLOYMENTS, "web", "d")["spec"]["replicas"]


def told(api: FakeApi) -> set[str]:
    return {event["reason"] for event in api.objects(EVENTS, "d")}


@pytest.mark.virtual
async def test_a_busy_deployment_grows_and_then_nothing_is_written() -> None:
    api = world()
    use(api, "100m", "100m")
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert replicas(api) == 4
        assert condition(api, "AbleToScale") == (
            "True",
            "SucceededRescale",
            "the HPA controller was able to update the target scale to 4",
        )
        assert condition(api, "ScalingActive")[1] == "ValidMetricFound"
        assert condition(api, "ScalingLimited")[:2] == ("False", "DesiredWithinRange")
        current = {"averageUtilization": 100, "averageValue": "100m"}
        assert status(api)["currentMetrics"] == [
            {"type": "Resource", "resource": {"name": "cpu", "current": current}}
        ]
        assert status(api)["desiredReplicas"] == 4
        use(api, "50m", "50m")
        await clock.sleep(40)
        api.change(DEPLOYMENTS, "web", "d", lambda obj: obj["spec"].update(replicas=2))
        await clock.sleep(700)
        assert condition(api, "AbleToScale")[1] == "ReadyForNewScale"
        writes = len(api.writes())
        await clock.sleep(600)
        assert len(api.writes()) == writes
    assert "SuccessfulRescale" in told(api)
    assert b'_reconciliations_total{action="scale_up",error="none"}' in metrics.exposition()


@pytest.mark.virtual
async def test_without_a_metrics_api_it_says_so() -> None:
    api = world()
    api.fail("list", POD_METRICS, NotFound("the server could not find the requested resource"), times=99)
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        why = (
            "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from "
            "resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
        )
        assert condition(api, "ScalingActive") == (
            "False",
            "FailedGetResourceMetric",
            f"the HPA was unable to compute the replica count: {why}",
        )
        assert condition(api, "AbleToScale")[:2] == ("True", "SucceededGetScale")
        assert status(api)["currentReplicas"] == 2
        before = [write for write in api.writes() if write[1] != "events"]
        await clock.sleep(300)
        assert [write for write in api.writes() if write[1] != "events"] == before
    assert told(api) == {"FailedGetResourceMetric", "FailedComputeMetricsReplicas"}
    assert replicas(api) == 2


@pytest.mark.virtual
async def test_faults_at_every_step_are_overcome() -> None:
    for verb, resource, lost in (
        ("get", DEPLOYMENTS, False),
        ("list", PODS, False),
        ("list", POD_METRICS, False),
        ("update", DEPLOYMENTS, False),
        ("update", DEPLOYMENTS, True),
        ("update", AUTOSCALERS, False),
        ("update", AUTOSCALERS, True),
    ):
        api = world()
        use(api, "100m", "100m")
        if lost:
            api.lose_answer(verb, resource)
        else:
            api.fail(verb, resource, Conflict)
        async with running(api, DESCRIPTOR):
            await clock.sleep(20)
            assert replicas(api) in (4, 8), (verb, resource)
            assert condition(api, "AbleToScale")[0] == "True"


@pytest.mark.virtual
async def test_limits_hold_whatever_the_metrics_say() -> None:
    api = world(1, minReplicas=3)
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert replicas(api) == 3
        api.change(DEPLOYMENTS, "web", "d", lambda obj: obj["spec"].update(replicas=0))
        await clock.sleep(16)
        assert replicas(api) == 0
        assert condition(api, "ScalingActive")[:2] == ("False", "ScalingDisabled")


@pytest.mark.virtual
async def test_a_target_that_is_not_there() -> None:
    api = world()
    api.remove(DEPLOYMENTS, "web", "d")
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert condition(api, "AbleToScale")[:2] == ("False", "FailedGetScale")
    assert told(api) == {"FailedGetScale"}


@pytest.mark.virtual
async def test_custom_object_and_external_metrics() -> None:
    now = clock.timestamp()
    metrics = [
        {
            "type": "Pods",
            "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}},
        },
        {
            "type": "Object",
            "object": {
                "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
                "metric": {"name": "hits"},
                "target": {"type": "Value", "value": "100"},
            },
        },
        {
            "type": "External",
            "external": {
                "metric": {"name": "queue_length"},
                "target": {"type": "AverageValue", "averageValue": "30"},
            },
        },
    ]
    api = world(metrics=metrics)
    each = {"timestamp": now, "value": "10"}
    per_pod = [{**each, "describedObject": {"name": f"web-{number}"}} for number in range(2)]
    api.add(CUSTOM_PODS, {"metadata": {"name": "*", "namespace": "d"}, "items": per_pod})
    api.add(
        CUSTOM_SERVICES, {"metadata": {"name": "s", "namespace": "d"}, "items": [{**each, "value": "150"}]}
    )
    api.add(QUEUE, {"metadata": {"name": "q", "namespace": "d"}, "value": "120"})
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert replicas(api) == 4  # 120 / 30; the others want 2 and 3
        kinds = [entry["type"] for entry in status(api)["currentMetrics"]]
        assert kinds == ["Pods", "Object", "External"]
        message = condition(api, "ScalingActive")[2]
        assert message.endswith("from external metric queue_length(nil)")


@pytest.mark.virtual
async def test_one_metric_that_fails_does_not_keep_another_from_growing() -> None:
    pods = {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "10"}}
    api = world(metrics=[{"type": "Pods", "pods": pods}, cpu(50)])
    use(api, "100m", "100m")
    async with running(api, DESCRIPTOR):
        await clock.sleep(1)
        assert replicas(api) == 4
    shrinking = world(metrics=[{"type": "Pods", "pods": pods}, cpu(50)])
    use(shrinking, "10m", "10m")
    async with running(shrinking, DESCRIPTOR):
        await clock.sleep(400)
        assert replicas(shrinking) == 2
        assert condition(shrinking, "ScalingActive")[:2] == ("False", "FailedGetPodsMetric")


@pytest.mark.virtual
async def test_two_autoscalers_do_not_pull_at_the_same_pods() -> None:
    api = world()
    use(api, "100m", "100m")
    other = api.object(AUTOSCALERS, "web", "d")
    other["metadata"] = {"name": "other", "namespace": "d"}
    api.add(AUTOSCALERS, other)
    async with running(api, DESCRIPTOR):
        await clock.sleep(20)
        assert condition(api, "ScalingActive")[1] == "AmbiguousSelector"
        assert condition(api, "ScalingActive")[2].endswith("multiple HPAs: [{other d} {web d}]")
