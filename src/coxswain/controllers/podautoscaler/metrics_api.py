"""Asks the metrics APIs, which extension servers serve behind the API server.

    Resource, ContainerResource   GET /apis/metrics.k8s.io/v1beta1/namespaces/NS/pods?labelSelector=
    Pods                          GET /apis/custom.metrics.k8s.io/v1beta2/namespaces/NS/pods/*/METRIC
    Object                        GET /apis/custom.metrics.k8s.io/v1beta2/namespaces/NS/RESOURCE/NAME/METRIC
    External                      GET /apis/external.metrics.k8s.io/v1beta1/namespaces/NS/METRIC

Every failure is a ``MetricsError`` in kube-controller-manager's words. Of the custom metrics API its older
version is asked where there is no newer one.
"""

from __future__ import annotations

import orjson

from coxswain.api import selectors
from coxswain.api.errors import ApiError, NotFound, ServiceUnavailable
from coxswain.api.names import GVR, Object, split_api_version
from coxswain.client.interface import Call, Client
from coxswain.controllers.podautoscaler.samples import (
    MetricsError,
    PodSamples,
    amounts,
    custom_samples,
    go_selector,
    resource_samples,
)
from coxswain.controllers.served import ServedResources

POD_METRICS = GVR("metrics.k8s.io", "v1beta1", "pods")
_CUSTOM, _CUSTOM_VERSIONS = "custom.metrics.k8s.io", ("v1beta2", "v1beta1")
_EXTERNAL = "external.metrics.k8s.io"
_ABSENT = "the server could not find the requested resource"


class MetricsApi:
    """The three APIs, through ``client``."""

    def __init__(self, client: Client, served: ServedResources) -> None:
        self._client = client
        self._served = served

    async def resource(self, namespace: str, selector: str, resource: str, container: str = "") -> PodSamples:
        """The use of ``resource`` by pods that ``selector`` matches."""
        try:
            found = await self._client.list(POD_METRICS, namespace, label_selector=selector)
            items = [orjson.loads(raw) for raw in found.items]
            if not items:
                raise MetricsError("no metrics returned from resource metrics API")
            return resource_samples(items, resource, container)
        except ApiError as error:
            why = f"unable to fetch metrics from resource metrics API: {_words(error, POD_METRICS)}"
            raise MetricsError(f"unable to get metrics for resource {resource}: {why}") from None
        except MetricsError as error:
            raise MetricsError(f"unable to get metrics for resource {resource}: {error}") from None

    async def pods(self, namespace: str, selector: str, metric: Object) -> PodSamples:
        """A custom metric of the pods that ``selector`` matches."""
        name = metric["name"]
        try:
            items = await self._custom(namespace, "pods", "*", name, _selector(metric), selector)
        except MetricsError as error:
            raise MetricsError(f"unable to get metric {name}: {error}") from None
        return custom_samples(items)

    async def object(self, namespace: str, described: Object, metric: Object) -> int:
        """A custom metric of one object, in thousandths."""
        kind, name = described["kind"], metric["name"]
        try:
            resource = self._resource(described)
            if resource == "namespaces":
                # A reference cannot leave its namespace: this one is meant, whatever it is called.
                items = await self._custom(namespace, "metrics", name, "", _selector(metric))
            else:
                items = await self._custom(namespace, resource, described["name"], name, _selector(metric))
            return amounts(items)[0]
        except MetricsError as error:
            # The order of Kubernetes' words.
            why = f"{kind} on {namespace} {described['name']}/{error}"
            raise MetricsError(f"unable to get metric {name}: {why}") from None

    async def external(self, namespace: str, metric: Object) -> int:
        """The sum of an external metric's values, in thousandths."""
        name = metric["name"]
        resource = GVR(_EXTERNAL, "v1beta1", name)
        try:
            found = await self._client.list(resource, namespace, label_selector=_selector(metric))
            values = amounts([orjson.loads(raw) for raw in found.items])
            if not values:
                raise MetricsError("no metrics returned from external metrics API")
            return sum(values)
        except ApiError as error:
            why = f"unable to fetch metrics from external metrics API: {_words(error, resource)}"
        except MetricsError as error:
            why = str(error)
        about = go_selector(metric.get("selector"))
        raise MetricsError(f"unable to get external metric {namespace}/{name}/{about}: {why}")

    async def _custom(
        self, namespace: str, resource: str, name: str, metric: str, metric_selector: str, selector: str = ""
    ) -> list[Object]:
        query = {}
        if selector:
            query["labelSelector"] = selector
        if metric_selector:
            query["metricLabelSelector"] = metric_selector
        failure = ""
        for version in _CUSTOM_VERSIONS:
            gvr = GVR(_CUSTOM, version, resource)
            call = Call("get", gvr, namespace, name, metric, query)
            try:
                [answer] = await self._client.batch([call])
                items: list[Object] = answer.object().get("items") or []
            except ApiError as error:
                failure = _words(error, gvr)
                if failure.startswith(_ABSENT):
                    failure = f"no custom metrics API ({_CUSTOM}) registered"
                if isinstance(error, NotFound):
                    continue
                break
            if not items:
                raise MetricsError("no metrics returned from custom metrics API")
            return items
        raise MetricsError(f"unable to fetch metrics from custom metrics API: {failure}")

    def _resource(self, described: Object) -> str:
        api_version, kind = described.get("apiVersion") or "v1", described["kind"]
        served = self._served.by_kind(api_version, kind)
        if served is None:
            group, version = split_api_version(api_version)
            why = f'no matches for kind "{kind}" in version "{group}/{version}"'
            raise MetricsError(f"unable to fetch metrics from custom metrics API: {why}")
        return served.gvr.group_resource


def _selector(metric: Object) -> str:
    chosen = metric.get("selector")
    return str(selectors.label_selector_from(chosen)) if chosen else ""


def _words(error: ApiError, resource: GVR) -> str:
    """What client-go makes of an answer without words of its own."""
    about = f"(get {resource.group_resource})"
    if isinstance(error, NotFound) and (not error.message or error.message.startswith(_ABSENT)):
        return f"{_ABSENT} {about}"
    if isinstance(error, ServiceUnavailable):
        return f"the server is currently unable to handle the request {about}"
    return error.message
