"""ServiceAccount: every pod runs as an account of its namespace and gets that account's token mounted."""

from __future__ import annotations

from collections.abc import Iterator

from coxswain.api.fields import quote
from coxswain.api.names import GVR, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock

DEFAULT = "default"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
#: A pod with this annotation mirrors a static one, and a node could use it to get at anybody's secrets.
MIRROR = "kubernetes.io/config.mirror"
ENFORCE_SECRETS = "kubernetes.io/enforce-mountable-secrets"
#: Seconds that a mounted token lives; the agent renews it earlier (one hour and seven seconds: a marker).
TOKEN_SECONDS = 3607

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class ServiceAccount(Plugin):
    """See the module's text."""

    NAME = "ServiceAccount"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        return operation == "CREATE" and resource == PODS and not subresource

    def admit(self, request: Request) -> None:
        pod = request.object
        assert pod is not None
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or DEFAULT
        spec["serviceAccountName"] = name
        spec["serviceAccount"] = name
        account = self._account(request, name)
        if _wants_token(spec, account):
            _mount_token(spec)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]

    def validate(self, request: Request) -> None:
        pod = request.object
        assert pod is not None
        spec = pod.get("spec") or {}
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            _check_mirror(request, spec)
            return
        account = self._account(request, spec.get("serviceAccountName") or DEFAULT)
        if (account["metadata"].get("annotations") or {}).get(ENFORCE_SECRETS) == "true":
            _check_secrets(request, spec, account)

    def _account(self, request: Request, name: str) -> Object:
        account = self._lookup.get(SERVICE_ACCOUNTS, request.namespace, name)
        if account is None:
            # Singular, because the lister behind Kubernetes' plugin says so.
            missing = f"serviceaccount {quote(name)} not found"
            raise request.forbidden(f"error looking up service account {request.namespace}/{name}: {missing}")
        return account


def _wants_token(spec: Object, account: Object) -> bool:
    for holder in (spec, account):
        if holder.get("automountServiceAccountToken") is not None:
            return bool(holder["automountServiceAccountToken"])
    return True


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers"):
        yield from spec.get(field) or ()


def _mount_token(spec: Object) -> None:
    volumes = spec.get("volumes") or []
    names = {volume.get("name") for volume in volumes}
    name = next((n for n in names if isinstance(n, str) and n.startswith(VOLUME_PREFIX)), "")
    existing = bool(name)
    while not name or (name in names and not existing):
        name = VOLUME_PREFIX + "".join(clock.random().choices(_SUFFIX_LETTERS, k=5))
    mounted = False
    for container in _containers(spec):
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        mounted = True
    if mounted and not existing:
        spec["volumes"] = [*volumes, token_volume(name)]


def token_volume(name: str) -> Object:
    """The projected volume of a token, the cluster's CA and the pod's namespace."""
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
            "defaultMode": 420,
        },
    }


def _check_mirror(request: Request, spec: Object) -> None:
    if spec.get("serviceAccountName"):
        raise request.forbidden("a mirror pod may not reference service accounts")
    for volume in spec.get("volumes") or ():
        for kind, words in (
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("persistentVolumeClaim", ""),
        ):
            if volume.get(kind) is not None:
                raise request.forbidden(f"a mirror pod may not reference {words or 'persistentvolumeclaims'}")
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                raise request.forbidden("a mirror pod may not use ServiceAccountToken volume projections")


def _check_secrets(request: Request, spec: Object, account: Object) -> None:
    name = account["metadata"]["name"]
    mountable = {secret.get("name") for secret in account.get("secrets") or ()}
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret and secret not in mountable:
            raise request.forbidden(
                f'volume with secret.secretName="{secret}" is not allowed because service account {name} '
                "does not reference that secret"
            )
    for container in _containers(spec):
        for variable in container.get("env") or ():
            secret = ((variable.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
            if secret and secret not in mountable:
                raise request.forbidden(
                    f"container {container['name']} with envVar {variable['name']} referencing "
                    f'secret.secretName="{secret}" is not allowed because service account {name} does not '
                    "reference that secret"
                )
