"""Mode Webhook: a server elsewhere reviews access.

It gets a SubjectAccessReview and answers allowed, denied, or neither, which leaves it to the next authorizer.
Answers are remembered, good ones for ``cache_ttl`` seconds, others for ``refusal_ttl``. A server that does not
answer has no opinion, so what the other authorizers do not allow stays forbidden; or, where that is configured, it
denies. Conditions say which requests concern it at all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from coxswain.api.names import Object
from coxswain.apiserver.asking import Peer, Remembered
from coxswain.apiserver.authn.settings import WebhookSettings
from coxswain.apiserver.authz import selectors
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.rules import Rule
from coxswain.base.errors import ConfigurationError, ResourceUnavailable
from coxswain.client.interface import UserInfo

log = logging.getLogger(__name__)

GROUP = "authorization.k8s.io"

#: Whether a request, as the review's spec, concerns the webhook. May raise ``EvaluationError``.
Condition = Callable[[Object], Any]

_NO_OPINION = Decision(False)
#: Longer questions are asked anew every time (Kubernetes' bound for what a caller controls).
MAX_CONTROLLED = 10_000


class WebhookAuthorizer:
    """Decides by what the webhook says; ``authorize`` raises ``Pending`` where it has to be asked."""

    def __init__(
        self,
        settings: WebhookSettings,
        peer: Peer | None = None,
        *,
        conditions: tuple[Condition, ...] = (),
        deny: bool = False,
    ) -> None:
        """``deny``: what cannot be found out is denied. Raises ``ConfigurationError``."""
        if settings.version not in ("v1", "v1beta1"):
            raise ConfigurationError(f"--authorization-webhook-version {settings.version}: v1 or v1beta1")
        if settings.config_file is None and peer is None:
            raise ConfigurationError("authorization mode Webhook needs --authorization-webhook-config-file")
        self._settings = settings
        self._conditions = conditions
        self._deny = deny
        self._peer = peer or Peer.of(settings.config_file, timeout=settings.timeout)  # type: ignore[arg-type]
        self._known: Remembered[Decision] = Remembered(8192)

    def authorize(self, attributes: Attributes) -> Decision:
        """The webhook's decision. Raises ``Pending``."""
        user = attributes.user
        who = (user.name, user.groups, user.uid, tuple(sorted(user.extra.items())))
        key = (who, *attributes[1:])
        decision = self._known.get(key)
        if decision is None and self._conditions:
            skipped = self._skipped(attributes)
            if skipped is not None:
                return skipped
        if decision is None:
            raise self._known.wait_for(key, lambda: self._review(attributes))
        return decision

    def _skipped(self, attributes: Attributes) -> Decision | None:
        """The decision without the webhook, where a condition does not hold or cannot be judged."""
        # Only who has conditions needs CEL, which takes a while to load.
        from coxswain.api.cel.values import EvaluationError

        spec = _spec(attributes, "groups")
        failure = ""
        for condition in self._conditions:
            try:
                if condition(spec) is not True:
                    return _NO_OPINION
            except EvaluationError as error:
                failure = failure or str(error)
        if not failure:
            return None
        return Decision(False, denied=self._deny, error=f"a match condition failed: {failure}")

    def rules(self, user: UserInfo, namespace: str) -> tuple[list[Rule], str]:
        """Unknown: a webhook is asked for one request at a time."""
        return [], "webhook authorizer does not support user rule resolution"

    async def _review(self, attributes: Attributes) -> tuple[Decision, float]:
        version = f"{GROUP}/{self._settings.version}"
        spec = _spec(attributes, "groups" if self._settings.version == "v1" else "group")
        review = {"apiVersion": version, "kind": "SubjectAccessReview", "metadata": {}, "spec": spec}
        try:
            answer = await self._peer.post(review)
        except ResourceUnavailable as error:
            log.warning("authorization webhook: %s", error)
            why = "the authorization webhook does not answer"
            return Decision(False, denied=self._deny, error=why), 0.0
        decision = _decision(answer.get("status"))
        seconds = self._settings.cache_ttl if decision.allowed else self._settings.refusal_ttl
        return decision, 0.0 if _controlled(attributes) > MAX_CONTROLLED else seconds

    async def close(self) -> None:
        """Close connections. Idempotent."""
        await self._peer.close()


def _controlled(attributes: Attributes) -> int:
    """How much of the question its asker made up."""
    return sum(len(part) for part in attributes[1:] if isinstance(part, str))


def _spec(attributes: Attributes, groups: str) -> Object:
    user = attributes.user
    spec: Object = {"user": user.name}
    if user.groups:
        spec[groups] = list(user.groups)
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {name: list(values) for name, values in user.extra.items()}
    if not attributes.is_resource:
        spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
        return spec
    named = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
    resource = {name: getattr(attributes, name) for name in named if getattr(attributes, name)}
    spec["resourceAttributes"] = resource | selectors.to_review(attributes)
    return spec


def _decision(status: Any) -> Decision:
    if not isinstance(status, dict):
        return Decision(False, error="the authorization webhook answered without a status")
    allowed, denied = status.get("allowed") is True, status.get("denied") is True
    reason = str(status.get("reason") or "")
    if allowed and denied:
        return Decision(
            False,
            reason,
            denied=True,
            error="webhook subject access review returned both allow and deny response",
        )
    return Decision(allowed, reason, denied, str(status.get("evaluationError") or ""))
