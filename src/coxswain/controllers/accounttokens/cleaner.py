"""Invalidates, and a year later deletes, automatic token secrets that nobody has used for a year.

    made by old Kubernetes for an account, used by no pod, not used for a year   -> label: invalid since today
    so labelled for a year                                                       -> deleted

Only secrets that their account lists are automatic. API servers write when a token was last used, and since when
they have been writing it, into ``kube-system/kube-apiserver-legacy-service-account-token-tracking``: before that
is a year ago (or where it is not), nothing is touched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from coxswain.api import meta
from coxswain.api.errors import ApiError, Conflict, NotFound
from coxswain.api.names import CONFIGMAPS, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.base import clock, settings
from coxswain.controllers.accounttokens.decide import SECRET_TYPE, account_of, belongs
from coxswain.controllers.descriptor import ControllerContext, Descriptor

log = logging.getLogger(__name__)
NAME = "legacy-serviceaccount-token-cleaner-controller"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
_PERIOD = 86400.0


@dataclass(frozen=True, slots=True)
class TokenCleanerSettings:
    """kube-controller-manager's flag of this name."""

    legacy_service_account_token_clean_up_period: float = 365 * 86400.0
    """Seconds without use after which a token is invalidated, and then again after which it is deleted."""


def due(secret: Object, account: Object | None, used: frozenset[str], before: float) -> str:
    """``invalidate``, ``delete`` or nothing. ``before`` (seconds) is when too long ago ends; ``used``: by pods."""
    name, labels = meta.name(secret), meta.labels(secret)
    if account is None or not belongs(secret, account) or name in used:
        return ""
    if not any(entry.get("name") == name for entry in account.get("secrets") or ()):
        return ""
    if clock.parse_time(secret["metadata"]["creationTimestamp"]) >= before:
        return ""
    last_used = _day(labels.get(LAST_USED, ""))
    if last_used is not None and last_used >= before:
        return ""
    since = _day(labels.get(INVALID_SINCE, ""))
    if since is None:
        return "invalidate"
    return "delete" if since < before else ""


def _day(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def mounted(pods: Iterable[Object]) -> frozenset[str]:
    """``namespace/name`` of every secret that a pod has as a volume, in its environment or to pull images."""
    found = set()
    for pod in pods:
        namespace, spec = meta.namespace(pod), pod.get("spec") or {}
        for name in _secrets_of(spec):
            found.add(f"{namespace}/{name}")
    return frozenset(found)


def _secrets_of(spec: Object) -> Iterable[str]:
    for volume in spec.get("volumes") or ():
        yield (volume.get("secret") or {}).get("secretName") or ""
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield (source.get("secret") or {}).get("name") or ""
    for pull in spec.get("imagePullSecrets") or ():
        yield pull.get("name") or ""
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for entry in container.get("env") or ():
                yield ((entry.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") or ""
            for entry in container.get("envFrom") or ():
                yield (entry.get("secretRef") or {}).get("name") or ""


async def run(context: ControllerContext) -> None:
    """Look once a day, until cancelled. Nothing is watched: a look a day does not pay for a cache."""
    limit = settings.read(TokenCleanerSettings, context.options).legacy_service_account_token_clean_up_period
    while True:
        try:
            await _look(context, limit)
        except ApiError as error:
            log.warning("%s: %s", NAME, error)
        await clock.sleep(_PERIOD)


async def _look(context: ControllerContext, limit: float) -> None:
    reader, before = context.informers.client, clock.now() - limit
    try:
        tracking = await context.client.get(CONFIGMAPS, TRACKING, "kube-system")
    except NotFound:
        return
    since = _day((tracking.get("data") or {}).get("since", ""))
    if since is None or since > before:
        return
    secrets = await reader.list(SECRETS, field_selector=f"type={SECRET_TYPE}")
    if not secrets.items:
        return
    used = mounted(orjson.loads(raw) for raw in (await reader.list(PODS)).items)
    for raw in secrets.items:
        await _clean(context, orjson.loads(raw), used, before)


async def _clean(context: ControllerContext, secret: Object, used: frozenset[str], before: float) -> None:
    client, namespace, name = context.client, meta.namespace(secret), meta.name(secret)
    try:
        account = await context.informers.client.get(SERVICE_ACCOUNTS, account_of(secret), namespace)
        mine = frozenset(key.partition("/")[2] for key in used if key.startswith(f"{namespace}/"))
        action = due(secret, account, mine, before)
        version = meta.resource_version(secret)
        if action == "invalidate":
            today = clock.timestamp().partition("T")[0]
            change = {"resourceVersion": version, "labels": {INVALID_SINCE: today}}
            await client.patch(SECRETS, name, {"metadata": change}, namespace)
        elif action == "delete":
            await client.delete(SECRETS, name, namespace, uid=meta.uid(secret), resource_version=version)
    except (NotFound, Conflict):
        return  # it changed meanwhile: tomorrow


DESCRIPTOR = Descriptor(NAME, run, account="legacy-service-account-token-cleaner")
