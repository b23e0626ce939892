"""Approves the requests of nodes for their client certificates, if whoever asks may have them.

    a node renews its own (it asks under its own name)        create certificatesigningrequests/selfnodeclient
    a node joins (it asks with a bootstrap token, or so)      create certificatesigningrequests/nodeclient

Whether they may is asked of the API server by a SubjectAccessReview: cluster role bindings decide. A recognized
request that is refused is looked at again, ever more seldom: somebody may still allow it.
"""

from __future__ import annotations

import logging

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import SUBJECT_ACCESS_REVIEWS, Object
from coxswain.base import clock
from coxswain.client.informer import key_of
from coxswain.controllers.certificates.requests import (
    KUBELET_CLIENT,
    REQUESTS,
    Unfit,
    check_kubelet_client,
    common_name,
    is_decided,
    parse,
)
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)
NAME = "certificatesigningrequest-approving-controller"

_MESSAGES = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}
_FIRST_RETRY, _LAST_RETRY = 0.2, 1000.0


def recognized(request: Object) -> list[str]:
    """The permissions of which one is enough to have ``request`` approved; empty if it is none of ours."""
    if request["spec"].get("signerName") != KUBELET_CLIENT:
        return []
    try:
        asked = parse(request)
        check_kubelet_client(asked, request["spec"].get("usages") or ())
    except Unfit as why:
        log.debug("%s: %s", meta.name(request), why)
        return []
    own = request["spec"].get("username") == common_name(asked)
    return ["selfnodeclient", "nodeclient"] if own else ["nodeclient"]


def review_of(request: Object, permission: str) -> Object:
    """The question whether the asker has ``permission``."""
    spec = request["spec"]
    attributes = {
        "group": REQUESTS.group,
        "resource": REQUESTS.resource,
        "verb": "create",
        "subresource": permission,
    }
    asker = {
        "user": spec.get("username"),
        "uid": spec.get("uid"),
        "groups": spec.get("groups"),
        "extra": spec.get("extra"),
    }
    return {
        "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": "SubjectAccessReview",
        "spec": {"resourceAttributes": attributes} | {key: value for key, value in asker.items() if value},
    }


def approved(request: Object, permission: str, now: str) -> Object:
    """``request`` with its approval."""
    entry = {
        "type": "Approved",
        "status": "True",
        "reason": "AutoApproved",
        "message": _MESSAGES[permission],
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    }
    status = request.get("status") or {}
    return {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), entry]}}


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    requests = context.informers.informer(REQUESTS)
    refused: dict[str, float] = {}

    async def reconcile(name: str) -> float | None:
        request = requests.get(name)
        if request is None or is_decided(request) or (request.get("status") or {}).get("certificate"):
            refused.pop(name, None)
            return None
        permissions = recognized(request)
        for permission in permissions:
            answer = await context.client.create(SUBJECT_ACCESS_REVIEWS, review_of(request, permission))
            if (answer.get("status") or {}).get("allowed"):
                refused.pop(name, None)
                try:
                    wanted = approved(request, permission, clock.timestamp())
                    await context.client.update(REQUESTS, wanted, subresource="approval")
                except NotFound:
                    pass
                return None
        if not permissions:
            return None
        log.info("%s asks as a node, but may not", name)
        refused[name] = min(refused.get(name, _FIRST_RETRY / 2) * 2, _LAST_RETRY)
        return refused[name]

    shell = Shell(NAME, reconcile, context.workers)
    requests.add_handler(
        lambda new: shell.add(key_of(new)),
        lambda _, new: shell.add(key_of(new)),
        lambda old: shell.add(key_of(old)),
    )
    await context.informers.start()
    await requests.wait_synced()
    await shell.run()


DESCRIPTOR = Descriptor(NAME, run, account="certificate-controller")
