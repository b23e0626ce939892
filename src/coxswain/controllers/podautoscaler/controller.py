"""Looks at every autoscaler each fifteen seconds: reads its target's scale and metrics, and sets the replicas.

    look: scale <- target/scale;  pods, metrics <- APIs;  plan <- decide;  target/scale <- plan;  status

A failure of any kind is told by a condition and an event, and the next look comes as usual: a metrics API that
is away is asked every fifteen seconds, not more often. The autoscaler's status is written only if it changed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import orjson

from coxswain.api import meta, selectors
from coxswain.api.errors import ApiError, NotFound
from coxswain.api.names import GVR, PODS, Object, split_api_version
from coxswain.base import clock, metrics, settings
from coxswain.client.informer import key_of
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.labels import SelectorIndex
from coxswain.controllers.podautoscaler.decide import (
    ABLE,
    ACTIVE,
    Plan,
    Report,
    at_the_limits,
    by_metrics,
    limits_of,
    same_status,
    tolerance_of,
)
from coxswain.controllers.podautoscaler.limits import History, note_scaling
from coxswain.controllers.podautoscaler.metrics_api import MetricsApi
from coxswain.controllers.podautoscaler.proposals import Answer
from coxswain.controllers.podautoscaler.replicas import Readiness, Situation
from coxswain.controllers.podautoscaler.samples import MetricsError
from coxswain.controllers.served import ServedResources
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)
NAME = "horizontal-pod-autoscaler-controller"
AUTOSCALERS = GVR("autoscaling", "v2", "horizontalpodautoscalers")


_LABELS = ("action", "error")
_LOOKS = metrics.counter(
    "horizontal_pod_autoscaler_controller_reconciliations",
    "Number of reconciliations of HPA controller, by the action taken and the kind of error",
    _LABELS,
)
_SECONDS = metrics.histogram(
    "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
    "The time(seconds) that the HPA controller takes to reconcile once, likewise",
    _LABELS,
    buckets=tuple(0.001 * 2**power for power in range(15)),
)


@dataclass(frozen=True, slots=True)
class PodAutoscalerSettings:
    """kube-controller-manager's ``--horizontal-pod-autoscaler-*`` flags."""

    sync_period: float = 15.0
    """Seconds between two looks at one autoscaler."""
    downscale_stabilization: float = 300.0
    """Seconds for which the highest wish holds on the way down, where no behavior says otherwise."""
    tolerance: float = 0.1
    """How far the ratio of use and target may be from 1 before anything is scaled."""
    cpu_initialization_period: float = 300.0
    """Seconds after its start in which a pod's cpu counts only while it is ready."""
    initial_readiness_delay: float = 30.0
    """Seconds after its start in which a pod that turns unready counts as never ready."""


class _Stop(Exception):
    """This look is over; the report says why."""


class PodAutoscaler:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext) -> None:
        self._client = context.client
        self._informers = context.informers
        self._settings = settings.read(PodAutoscalerSettings, context.options)
        self._recorder = context.recorder("horizontal-pod-autoscaler")
        self._autoscalers = context.informers.informer(AUTOSCALERS)
        self._served = ServedResources(context.informers)
        self._metrics = MetricsApi(context.client, self._served)
        self._histories: dict[str, History] = {}
        #: Which pods each autoscaler is about, as far as known: two must not pull at the same ones.
        self._selectors: dict[str, selectors.Selector] = {}
        self._selecting = SelectorIndex()
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._autoscalers.add_handler(self._add, self._updated, self._add)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._autoscalers.wait_synced()
        await self._served.definitions.wait_synced()
        await self._shell.run()

    def _add(self, autoscaler: Object) -> None:
        self._shell.add(key_of(autoscaler))

    def _updated(self, old: Object, new: Object) -> None:
        if old.get("spec") != new.get("spec"):
            self._add(new)

    async def reconcile(self, key: str) -> float | None:
        """One look at the autoscaler ``key``; seconds until the next."""
        autoscaler = self._autoscalers.get(key)
        if autoscaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            self._selecting.discard(key)
            return None
        report, began = Report.on(autoscaler, clock.timestamp()), clock.monotonic()
        action, error = "none", "none"
        try:
            action = await self._look(key, autoscaler, report)
        except _Stop as why:
            error = "internal"
            log.debug("autoscaler %s: %s", key, why)  # events and conditions say it
        await self._tell(autoscaler, report)
        _LOOKS.labels(action, error).inc()
        _SECONDS.labels(action, error).observe(clock.monotonic() - began)
        return self._settings.sync_period

    async def _look(self, key: str, autoscaler: Object, report: Report) -> str:
        """``scale_up``, ``scale_down`` or ``none``: what was done."""
        target, scale = await self._scale(autoscaler, report)
        within = limits_of(autoscaler, scale)
        history = self._histories.setdefault(key, History([(clock.now(), within.current)]))
        plan = at_the_limits(within, report) or await self._plan(key, autoscaler, scale, history, report)
        if plan.error:
            report.failed(plan.current, plan.metrics)
            report.warn("FailedComputeMetricsReplicas", plan.error)
            raise _Stop(plan.error)
        if plan.rescale:
            await self._rescale(target, scale, plan, report)
            note_scaling(history, autoscaler["spec"].get("behavior"), plan.current, plan.desired, clock.now())
        desired = plan.desired if plan.rescale else plan.current
        report.replicas(plan.current, desired, plan.metrics, plan.rescale)
        if desired == plan.current:
            return "none"
        return "scale_up" if desired > plan.current else "scale_down"

    # -- the target ----------------------------------------------------------------------------------------

    async def _scale(self, autoscaler: Object, report: Report) -> tuple[GVR, Object]:
        """The target's resource and its scale."""
        reference = autoscaler["spec"]["scaleTargetRef"]
        api_version, kind = reference.get("apiVersion") or "v1", reference["kind"]
        served = self._served.by_kind(api_version, kind)
        try:
            if served is None:
                group, _ = split_api_version(api_version)
                raise NotFound(f'no matches for kind "{kind}" in group "{group}"')
            namespace = meta.namespace(autoscaler)
            scale = await self._client.get(served.gvr, reference["name"], namespace, subresource="scale")
        except ApiError as error:
            report.warn("FailedGetScale", error.message)
            why = f"the HPA controller was unable to get the target's current scale: {error.message}"
            report.condition(ABLE, False, "FailedGetScale", why)
            raise _Stop(why) from None
        message = "the HPA controller was able to get the target's current scale"
        report.condition(ABLE, True, "SucceededGetScale", message)
        return served.gvr, scale

    async def _rescale(self, target: GVR, scale: Object, plan: Plan, report: Report) -> None:
        wanted = {**scale, "spec": {**(scale.get("spec") or {}), "replicas": plan.desired}}
        try:
            await self._client.update(target, wanted, subresource="scale")
        except ApiError as error:
            told = f"New size: {plan.desired}; reason: {plan.reason}; error: {error.message}"
            report.warn("FailedRescale", told)
            why = f"the HPA controller was unable to update the target scale: {error.message}"
            report.condition(ABLE, False, "FailedUpdateScale", why)
            report.failed(plan.current, report.status.get("currentMetrics"))
            raise _Stop(why) from None
        message = f"the HPA controller was able to update the target scale to {plan.desired}"
        report.condition(ABLE, True, "SucceededRescale", message)
        report.events.append(
            ("Normal", "SuccessfulRescale", f"New size: {plan.desired}; reason: {plan.reason}")
        )

    # -- metrics -------------------------------------------------------------------------------------------

    async def _plan(
        self, key: str, autoscaler: Object, scale: Object, history: History, report: Report
    ) -> Plan:
        namespace = meta.namespace(autoscaler)
        current = limits_of(autoscaler, scale).current
        try:
            selector, pods = await self._pods(key, namespace, scale, report)
        except MetricsError as error:
            return Plan(current, 0, error=str(error))
        specs = autoscaler["spec"].get("metrics") or ()
        answers = await asyncio.gather(*(self._ask(spec, namespace, selector) for spec in specs))
        at = Situation(
            current,
            (scale.get("status") or {}).get("replicas") or 0,
            pods,
            tolerance_of(autoscaler, self._settings.tolerance),
            Readiness(self._settings.cpu_initialization_period, self._settings.initial_readiness_delay),
            clock.now(),
        )
        window = self._settings.downscale_stabilization
        return by_metrics(autoscaler, answers, at, history, window, report)

    async def _pods(
        self, key: str, namespace: str, scale: Object, report: Report
    ) -> tuple[str, list[Object]]:
        """The selector of the scale and the pods it matches. Raises ``MetricsError``."""
        text = (scale.get("status") or {}).get("selector") or ""
        if not text:
            why = "the HPA target's scale is missing a selector"
            raise self._useless(report, "SelectorRequired", "selector is required", "InvalidSelector", why)
        try:
            selector = selectors.parse_label_selector(text)
        except selectors.SelectorError as error:
            why = f"couldn't convert selector into a corresponding internal selector object: {error.message}"
            raise self._useless(report, "InvalidSelector", why, "InvalidSelector", why) from None
        if self._selectors.get(key) is not selector:
            self._selectors[key] = selector
            self._selecting.discard(key)
            self._selecting.put(key, namespace, selector.exact)
        try:
            # Asked for, not watched: informers keep less of a pod than what it requests.
            found = await self._client.list(PODS, namespace, label_selector=text)
        except ApiError as error:
            raise MetricsError(
                f"unable to get pods while calculating replica count: {error.message}"
            ) from None
        pods = [orjson.loads(raw) for raw in found.items]
        others = self._pulling_at(namespace, pods)
        if len(others) > 1:
            names = " ".join(f"{{{name} {namespace}}}" for name in others)
            why = f"pods by selector {text} are controlled by multiple HPAs: [{names}]"
            raise self._useless(report, "AmbiguousSelector", why, "AmbiguousSelector", why)
        return text, pods

    def _useless(self, report: Report, event: str, told: str, reason: str, message: str) -> MetricsError:
        report.warn(event, told)
        report.condition(ACTIVE, False, reason, message)
        return MetricsError(told)

    def _pulling_at(self, namespace: str, pods: list[Object]) -> list[str]:
        """The names of all autoscalers whose selector matches one of the pods."""
        found = {
            key
            for labels in map(meta.labels, pods)
            for key in self._selecting.candidates(namespace, labels)
            if self._selectors[key].matches(labels)
        }
        return sorted(key.rpartition("/")[2] for key in found)

    async def _ask(self, spec: Object, namespace: str, selector: str) -> Answer:
        try:
            match spec.get("type"):
                case "Resource":
                    return await self._metrics.resource(namespace, selector, spec["resource"]["name"])
                case "ContainerResource":
                    source = spec["containerResource"]
                    return await self._metrics.resource(
                        namespace, selector, source["name"], source["container"]
                    )
                case "Pods":
                    return await self._metrics.pods(namespace, selector, spec["pods"]["metric"])
                case "Object":
                    source = spec["object"]
                    return await self._metrics.object(namespace, source["describedObject"], source["metric"])
                case "External":
                    return await self._metrics.external(namespace, spec["external"]["metric"])
        except MetricsError as error:
            return error
        return 0

    # -- the status ----------------------------------------------------------------------------------------

    async def _tell(self, autoscaler: Object, report: Report) -> None:
        for kind, reason, message in report.events:
            self._recorder.event(autoscaler, kind, reason, message)
        if same_status(autoscaler.get("status"), report.status):
            return
        report.status.setdefault("desiredReplicas", 0)
        report.status.setdefault("currentMetrics", None)
        try:
            await self._client.update(
                AUTOSCALERS, {**autoscaler, "status": report.status}, subresource="status"
            )
        except NotFound:
            return
        except ApiError as error:
            self._recorder.event(autoscaler, "Warning", "FailedUpdateStatus", error.message)


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    await PodAutoscaler(context).run()


DESCRIPTOR = Descriptor(NAME, run, account="horizontal-pod-autoscaler")
