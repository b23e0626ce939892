"""The ``token`` subresource of service accounts: a TokenRequest comes in, a bound token goes out."""

from __future__ import annotations

import uuid
from typing import Any

from coxswain.api import errors, fields
from coxswain.api.names import GVR, NODES, PODS, SECRETS, Object
from coxswain.apiserver.authn.service_accounts import PREFIX, PRIVATE_CLAIM, ServiceAccountTokens
from coxswain.apiserver.lookup import Lookup
from coxswain.base import clock

DEFAULT_SECONDS = 3600
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32
#: What kubelets of the legacy kind ask for: such tokens live a year, and warn when used after this time.
WARN_ONLY_SECONDS = 3607
EXTENDED_SECONDS = 365 * 24 * 3600

_KINDS = {"Pod": PODS, "Secret": SECRETS, "Node": NODES}


class TokenMaker:
    """Answers TokenRequests by what ``lookup`` has now."""

    def __init__(
        self,
        accounts: ServiceAccountTokens,
        lookup: Lookup,
        *,
        max_seconds: float = 0,
        extend: bool = True,
    ) -> None:
        """``max_seconds`` bounds what is asked for (0: not at all); ``extend`` lets old kubelets' tokens live a year."""
        self._accounts = accounts
        self._lookup = lookup
        self._max_seconds = int(max_seconds)
        self._extend = extend

    def create(self, account: Object, request: Object, warnings: list[str] | None = None) -> Object:
        """The answered TokenRequest for the ServiceAccount ``account``. Raises ``ApiError``.

        ``warnings`` takes what the client should be told.
        """
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        meta = request.get("metadata") or {}
        _check_metadata(meta, namespace, name)
        spec: Object = dict(request.get("spec") or {})
        audiences = list(spec.get("audiences") or self._accounts.audiences)
        seconds = spec.get("expirationSeconds")
        seconds = DEFAULT_SECONDS if seconds is None else int(seconds)
        _check_seconds(seconds)
        if self._max_seconds and seconds > self._max_seconds:
            if warnings is not None:
                warnings.append(
                    f"requested expiration of {seconds} seconds shortened to {self._max_seconds} seconds"
                )
            seconds = self._max_seconds
        now = int(clock.now())
        private: Object = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account["metadata"].get("uid", "")},
        }
        ref = spec.get("boundObjectRef")
        if ref:
            private.update(self._bind(account, namespace, ref))
        lifetime = seconds
        extend = self._extend and seconds == WARN_ONLY_SECONDS and bool(ref)
        if extend and audiences == list(self._accounts.audiences):
            private["warnafter"] = now + seconds
            lifetime = EXTENDED_SECONDS
        token = self._accounts.issuer.sign(
            {
                "aud": audiences,
                "exp": now + lifetime,
                "iat": now,
                "iss": self._accounts.issuer.issuer,
                "jti": str(uuid.UUID(int=clock.random().getrandbits(128), version=4)),
                PRIVATE_CLAIM: private,
                "nbf": now,
                "sub": f"{PREFIX}{namespace}:{name}",
            }
        )
        answer: Object = {"audiences": audiences, "expirationSeconds": seconds}
        if ref:
            answer["boundObjectRef"] = ref
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                **meta,
                "name": name,
                "namespace": namespace,
                "creationTimestamp": clock.format_time(now),
            },
            "spec": answer,
            "status": {"token": token, "expirationTimestamp": clock.format_time(now + seconds)},
        }

    def _bind(self, account: Object, namespace: str, ref: Object) -> dict[str, Any]:
        """The private claims of the object that a token is bound to."""
        kind, name, uid = str(ref.get("kind") or ""), str(ref.get("name") or ""), str(ref.get("uid") or "")
        version = str(ref.get("apiVersion") or "")
        gvr = _KINDS.get(kind) if version in ("v1", "") else None
        if gvr is None:
            group, _, plain = version.rpartition("/")
            raise errors.BadRequest(f"cannot bind token to object of type {group}/{plain}, Kind={kind}")
        found = self._lookup.get(gvr, "" if gvr is NODES else namespace, name)
        if found is None:
            raise errors.not_found(gvr, name)
        actual = str(found["metadata"].get("uid") or "")
        if uid and uid != actual:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise errors.conflict(GVR("", "v1", kind), name, why)
        claims: dict[str, Any] = {kind.lower(): {"name": name, "uid": actual}}
        if gvr is PODS:
            self._bind_pod(account, found, claims)
        return claims

    def _bind_pod(self, account: Object, pod: Object, claims: dict[str, Any]) -> None:
        spec = pod.get("spec") or {}
        name = account["metadata"]["name"]
        if spec.get("serviceAccountName") != name:
            raise errors.BadRequest(
                f"cannot bind token for serviceaccount {fields.quote(name)} to pod running with different "
                "serviceaccount name."
            )
        node = str(spec.get("nodeName") or "")
        if node:
            found = self._lookup.get(NODES, "", node)
            claims["node"] = {"name": node}
            if found is not None:
                claims["node"]["uid"] = found["metadata"].get("uid", "")


def _check_metadata(meta: Object, namespace: str, name: str) -> None:
    if meta.get("name", name) not in (name, ""):
        raise errors.BadRequest(
            "the name of the object ({}) does not match the name on the URL ({})".format(meta["name"], name)
        )
    if meta.get("namespace", namespace) not in (namespace, ""):
        raise errors.BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _check_seconds(seconds: int) -> None:
    path = "spec.expirationSeconds"
    if seconds < MIN_SECONDS:
        problem = fields.invalid(path, seconds, "may not specify a duration less than 10 minutes")
    elif seconds > MAX_SECONDS:
        problem = fields.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")
    else:
        return
    raise errors.invalid("authentication.k8s.io", "TokenRequest", "", [problem])
