"""ServiceAccount: every pod runs as an account of its namespace and gets that account's token mounted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from coxswain.api.fields import quote
from coxswain.api.names import GVR, PODS, SERVICE_ACCOUNTS, Object
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.authz.node_relations import secret_names
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

#: What Go's ``strconv.ParseBool`` takes for true.
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_INIT, _MAIN = ("initContainers", "init container"), ("containers", "container")
_EPHEMERAL = ("ephemeralContainers", "ephemeral container")
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class ServiceAccount(Plugin):
    """See the module's text."""

    NAME = "ServiceAccount"
    READS = (SERVICE_ACCOUNTS,)

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        #: One name for the volumes of all pods: what a controller posts a thousand times stays alike, so that its
        #: rules are checked once (``apiserver/replicas.py``).
        self._volume = _volume_name()

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if resource != PODS:
            return False
        if subresource == "ephemeralcontainers":
            return operation == "UPDATE"
        return operation == "CREATE" and not subresource

    def repeats(self, request: Request) -> bool:
        return True

    def admit(self, request: Request) -> None:
        pod = request.object
        assert pod is not None
        if request.subresource:
            return
        if MIRROR in (pod["metadata"].get("annotations") or {}):
            _check_mirror(request, pod.get("spec") or {})
            return
        spec = pod.setdefault("spec", {})
        name = spec.get("serviceAccountName") or DEFAULT
        spec["serviceAccountName"] = name
        spec["serviceAccount"] = name
        account = self._account(request, name)
        if _wants_token(spec, account):
            _mount_token(spec, self._volume)
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
        if (account["metadata"].get("annotations") or {}).get(ENFORCE_SECRETS) not in _TRUE:
            return
        if request.subresource:
            _check_containers(request, spec, account, (_EPHEMERAL,))
        else:
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


def _volume_name() -> str:
    return VOLUME_PREFIX + "".join(clock.random().choices(_SUFFIX_LETTERS, k=5))


def _mount_token(spec: Object, unused: str) -> None:
    """Mount a token in every container that does not bring one; ``unused`` names the volume if it has to be made."""
    volumes = spec.get("volumes") or []
    names = [volume.get("name") for volume in volumes]
    existing = next((n for n in names if isinstance(n, str) and n.startswith(VOLUME_PREFIX)), "")
    name = existing or unused
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
    if next(secret_names(spec), None) is not None:
        raise request.forbidden("a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                raise request.forbidden("a mirror pod may not use ServiceAccountToken volume projections")


def _check_secrets(request: Request, spec: Object, account: Object) -> None:
    """Only what the account lists may be mounted, put into the environment or pulled with."""
    mountable = _names(account.get("secrets"))
    for volume in spec.get("volumes") or ():
        if volume.get("secret") is None:
            continue
        secret = volume["secret"].get("secretName") or ""
        if secret not in mountable:
            raise request.forbidden(f'volume with secret.secretName="{secret}" {_refusal(account, "secret")}')
    _check_containers(request, spec, account, (_INIT, _MAIN))
    pulling = _names(account.get("imagePullSecrets"))
    for position, reference in enumerate(spec.get("imagePullSecrets") or ()):
        name = reference.get("name") or ""
        if name not in pulling:
            why = _refusal(account, "imagePullSecret")
            raise request.forbidden(f'imagePullSecrets[{position}].name="{name}" {why}')


def _check_containers(
    request: Request, spec: Object, account: Object, fields: Iterable[tuple[str, str]]
) -> None:
    mountable = _names(account.get("secrets"))
    why = _refusal(account, "secret")
    for field, word in fields:
        for container in spec.get(field) or ():
            start = f"{word} {container.get('name')}"
            for variable in container.get("env") or ():
                reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
                if reference is not None and reference.get("name") not in mountable:
                    name = reference.get("name") or ""
                    raise request.forbidden(
                        f'{start} with envVar {variable.get("name")} referencing secret.secretName="{name}" {why}'
                    )
            for source in container.get("envFrom") or ():
                reference = source.get("secretRef")
                if reference is not None and reference.get("name") not in mountable:
                    name = reference.get("name") or ""
                    raise request.forbidden(
                        f'{start} with envFrom referencing secret.secretName="{name}" {why}'
                    )


def _names(references: Iterable[Object] | None) -> set[str]:
    return {str(reference.get("name") or "") for reference in references or ()}


def _refusal(account: Object, what: str) -> str:
    name = account["metadata"]["name"]
    return f"is not allowed because service account {name} does not reference that {what}"
