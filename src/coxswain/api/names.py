"""How kinds and resources are named, and the names that components use.

    GVK(group, version, kind)        what an object says of itself
    GVR(group, version, resource)    where it is served; what a Client takes

The legacy core group is the empty string. Custom resources have the same names, made at run time.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

#: An API object as JSON has it.
Object: TypeAlias = dict[str, Any]


class GVK(NamedTuple):
    """Group, version and kind."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @classmethod
    def of(cls, obj: Object) -> GVK:
        """The kind that ``obj`` declares; missing parts are empty strings."""
        group, version = split_api_version(str(obj.get("apiVersion") or ""))
        return cls(group, version, str(obj.get("kind") or ""))


class GVR(NamedTuple):
    """Group, version and resource (the plural, lower-case name)."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """``deployments.apps``, or ``pods`` for the core group; the form that error messages use."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def split_api_version(api_version: str) -> tuple[str, str]:
    """``apps/v1`` -> (``apps``, ``v1``); ``v1`` -> (````, ``v1``)."""
    group, slash, version = api_version.partition("/")
    return (group, version) if slash else ("", group)


BINDINGS = GVR("", "v1", "bindings")
CONFIGMAPS = GVR("", "v1", "configmaps")
ENDPOINTS = GVR("", "v1", "endpoints")
EVENTS = GVR("", "v1", "events")
NAMESPACES = GVR("", "v1", "namespaces")
NODES = GVR("", "v1", "nodes")
PERSISTENT_VOLUMES = GVR("", "v1", "persistentvolumes")
PERSISTENT_VOLUME_CLAIMS = GVR("", "v1", "persistentvolumeclaims")
PODS = GVR("", "v1", "pods")
REPLICATION_CONTROLLERS = GVR("", "v1", "replicationcontrollers")
SECRETS = GVR("", "v1", "secrets")
SERVICE_ACCOUNTS = GVR("", "v1", "serviceaccounts")
SERVICES = GVR("", "v1", "services")

CONTROLLER_REVISIONS = GVR("apps", "v1", "controllerrevisions")
DAEMON_SETS = GVR("apps", "v1", "daemonsets")
DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICA_SETS = GVR("apps", "v1", "replicasets")
STATEFUL_SETS = GVR("apps", "v1", "statefulsets")

IP_ADDRESSES = GVR("networking.k8s.io", "v1", "ipaddresses")
SERVICE_CIDRS = GVR("networking.k8s.io", "v1", "servicecidrs")

CRON_JOBS = GVR("batch", "v1", "cronjobs")
JOBS = GVR("batch", "v1", "jobs")

LEASES = GVR("coordination.k8s.io", "v1", "leases")
ENDPOINT_SLICES = GVR("discovery.k8s.io", "v1", "endpointslices")
EVENTS_V1 = GVR("events.k8s.io", "v1", "events")
CLUSTER_ROLES = GVR("rbac.authorization.k8s.io", "v1", "clusterroles")
CLUSTER_ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "clusterrolebindings")
ROLES = GVR("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = GVR("rbac.authorization.k8s.io", "v1", "rolebindings")
CUSTOM_RESOURCE_DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
TOKEN_REVIEWS = GVR("authentication.k8s.io", "v1", "tokenreviews")
SUBJECT_ACCESS_REVIEWS = GVR("authorization.k8s.io", "v1", "subjectaccessreviews")
