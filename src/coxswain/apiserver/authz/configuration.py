"""The file of ``--authorization-config``: an AuthorizationConfiguration, read once at start.

    apiVersion: apiserver.config.k8s.io/v1
    kind: AuthorizationConfiguration
    authorizers:
    - {type: Node, name: node}
    - {type: RBAC, name: rbac}
    - type: Webhook
      name: corporate
      webhook:
        timeout: 3s
        authorizedTTL: 5m
        unauthorizedTTL: 30s
        subjectAccessReviewVersion: v1
        matchConditionSubjectAccessReviewVersion: v1
        failurePolicy: Deny
        connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/authz.kubeconfig}
        matchConditions: [{expression: "request.user != 'root'"}]

Authorizers are asked in the order of the file; several webhooks may be among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coxswain.api.cel.values import EvaluationError, parse_duration
from coxswain.api.names import Object
from coxswain.apiserver import configfiles
from coxswain.apiserver.authn.settings import WebhookSettings
from coxswain.apiserver.authz.webhook import Condition, WebhookAuthorizer
from coxswain.apiserver.configfiles import Reader

FLAG = "--authorization-config"
VERSIONS = ("apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1")
#: Types that need nothing but their name; each may be there once.
PLAIN = ("Node", "RBAC", "AlwaysAllow", "AlwaysDeny")
CONDITIONS = 64


def load(path: Path) -> tuple[tuple[str, ...], dict[str, WebhookAuthorizer]]:
    """The modes in their order, and the webhooks among them by name. Raises ``ConfigurationError``."""
    return _Reader(FLAG, path).read(configfiles.read(path, FLAG))


class _Reader(Reader):
    """Turns the document into authorizers."""

    def read(self, found: Any) -> tuple[tuple[str, ...], dict[str, WebhookAuthorizer]]:
        self._typed(found, "AuthorizationConfiguration", VERSIONS, ("authorizers",))
        modes: list[str] = []
        webhooks: dict[str, WebhookAuthorizer] = {}
        names: set[str] = set()
        for index, one in enumerate(found.get("authorizers") or ()):
            at = f"authorizers[{index}]"
            self._known(one, at, ("type", "name", "webhook"))
            kind, name = str(one.get("type") or ""), str(one.get("name") or "")
            if not name or name in names:
                raise self._fail(f"{at}.name", "has to be there, and differ from the others")
            names.add(name)
            if kind == "Webhook":
                mode = f"Webhook/{name}"
                webhooks[mode] = self._webhook(one.get("webhook"), f"{at}.webhook")
            elif kind in PLAIN and kind not in modes:
                mode = kind
            else:
                raise self._fail(f"{at}.type", f"has to be Webhook, or once one of {', '.join(PLAIN)}")
            modes.append(mode)
        if not modes:
            raise self._fail("authorizers", "at least one authorization mode must be defined")
        return tuple(modes), webhooks

    def _webhook(self, given: Any, at: str) -> WebhookAuthorizer:
        self._known(
            given,
            at,
            (
                "authorizedTTL",
                "unauthorizedTTL",
                "cacheAuthorizedRequests",
                "cacheUnauthorizedRequests",
                "timeout",
                "subjectAccessReviewVersion",
                "matchConditionSubjectAccessReviewVersion",
                "failurePolicy",
                "connectionInfo",
                "matchConditions",
            ),
        )
        policy = given.get("failurePolicy")
        if policy not in ("NoOpinion", "Deny"):
            raise self._fail(f"{at}.failurePolicy", "has to be NoOpinion or Deny")
        timeout = self._seconds(given, "timeout", at, 0)
        if not 0 < timeout <= 30:
            raise self._fail(f"{at}.timeout", "must be greater than 0 and at most 30s")
        version = given.get("subjectAccessReviewVersion")
        if version not in ("v1", "v1beta1"):
            raise self._fail(f"{at}.subjectAccessReviewVersion", "has to be v1 or v1beta1")
        good = self._seconds(given, "authorizedTTL", at, 300)
        bad = self._seconds(given, "unauthorizedTTL", at, 30)
        settings = WebhookSettings(
            config_file=self._connection(given.get("connectionInfo"), f"{at}.connectionInfo"),
            version=version,
            cache_ttl=good if given.get("cacheAuthorizedRequests", True) else 0.0,
            refusal_ttl=bad if given.get("cacheUnauthorizedRequests", True) else 0.0,
            timeout=timeout,
        )
        return WebhookAuthorizer(settings, conditions=self._conditions(given, at), deny=policy == "Deny")

    def _seconds(self, given: Object, name: str, at: str, default: float) -> float:
        text = given.get(name)
        if text is None:
            return default
        try:
            return parse_duration(str(text)).total_seconds()
        except (EvaluationError, ValueError) as error:
            raise self._fail(f"{at}.{name}", str(error)) from None

    def _connection(self, given: Any, at: str) -> Path:
        self._known(given, at, ("type", "kubeConfigFile"))
        file = str(given.get("kubeConfigFile") or "")
        if given.get("type") != "KubeConfigFile":
            raise self._fail(f"{at}.type", "has to be KubeConfigFile: this server runs in no pod")
        if not Path(file).is_absolute():
            raise self._fail(f"{at}.kubeConfigFile", "must be an absolute path")
        return Path(file)

    def _conditions(self, given: Object, at: str) -> tuple[Condition, ...]:
        from coxswain.api.cel import DYN, CelError, compile_expression

        wanted = given.get("matchConditions") or []
        if len(wanted) > CONDITIONS:
            raise self._fail(f"{at}.matchConditions", f"must have at most {CONDITIONS} items")
        if wanted and given.get("matchConditionSubjectAccessReviewVersion") != "v1":
            raise self._fail(f"{at}.matchConditionSubjectAccessReviewVersion", "has to be v1")
        found: list[Condition] = []
        for index, one in enumerate(wanted):
            field = f"{at}.matchConditions[{index}]"
            self._known(one, field, ("expression",))
            try:
                program = compile_expression(str(one.get("expression") or ""), {"request": DYN})
            except CelError as error:
                raise self._fail(f"{field}.expression", f"compilation failed: {error}") from None
            if program.type not in ("bool", "dyn"):
                raise self._fail(f"{field}.expression", "must evaluate to bool")
            found.append(lambda spec, program=program: program.run({"request": spec}))  # type: ignore[misc]
        return tuple(found)
