"""The questions about permissions and identity that come in as objects.

TokenReview, SubjectAccessReview and its Local and Self forms, SelfSubjectRulesReview, SelfSubjectReview:
create-only resources that are answered, never stored. The SubjectAccessReviews and the TokenReview answer
with the object they got, status filled in; the other two answer with a new one (as kube-apiserver does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coxswain.api import errors, fields
from coxswain.api.names import GVR, Object
from coxswain.apiserver.authn.authenticator import Authenticator
from coxswain.apiserver.authn.users import user_info
from coxswain.apiserver.authz import selectors
from coxswain.apiserver.authz.attributes import Attributes, Decision
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.authz.node import NODES_GROUP
from coxswain.apiserver.authz.rules import Rule
from coxswain.base import clock
from coxswain.client.interface import UserInfo

AUTHORIZATION = "authorization.k8s.io"
AUTHENTICATION = "authentication.k8s.io"

Handler = Callable[[Object, UserInfo, str], Object]


class Reviews:
    """Answers reviews; ``handles`` says which resources are reviews."""

    def __init__(self, authorizer: Authorizer, authenticator: Authenticator) -> None:
        self._authorizer = authorizer
        self._authenticator = authenticator
        self._handlers: dict[tuple[str, str], Handler] = {
            (AUTHORIZATION, "subjectaccessreviews"): self._subject_access,
            (AUTHORIZATION, "localsubjectaccessreviews"): self._local_subject_access,
            (AUTHORIZATION, "selfsubjectaccessreviews"): self._self_subject_access,
            (AUTHORIZATION, "selfsubjectrulesreviews"): self._self_subject_rules,
            (AUTHENTICATION, "selfsubjectreviews"): self._self_subject,
            (AUTHENTICATION, "tokenreviews"): self._token,
        }

    def handles(self, resource: GVR) -> bool:
        """Whether the resource is one of the reviews."""
        return (resource.group, resource.resource) in self._handlers

    def handle(self, resource: GVR, obj: Object, user: UserInfo, namespace: str = "") -> Object:
        """The answered review. ``obj`` is the caller's to change. Raises ``Invalid`` or ``BadRequest``."""
        return self._handlers[resource.group, resource.resource](obj, user, namespace)

    def _subject_access(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        spec = _prune(obj.get("spec") or {})
        problems = _access_problems(spec)
        if not spec.get("user") and not spec.get("groups"):
            problems.append(
                fields.invalid(
                    "spec.user", spec.get("user", ""), "at least one of user or group must be specified"
                )
            )
        _raise_if(problems, "SubjectAccessReview")
        return self._answer(obj, spec, _subject(spec))

    def _local_subject_access(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        spec = _prune(obj.get("spec") or {})
        resource = spec.get("resourceAttributes")
        if resource is not None and namespace and resource.get("namespace", "") != namespace:
            raise errors.BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
        problems = _access_problems(spec)
        if not spec.get("user") and not spec.get("groups"):
            problems.append(
                fields.invalid(
                    "spec.user", spec.get("user", ""), "at least one of user or group must be specified"
                )
            )
        if "nonResourceAttributes" in spec:
            problems.append(
                fields.invalid(
                    "spec.nonResourceAttributes",
                    spec["nonResourceAttributes"],
                    "disallowed on this kind of request",
                )
            )
        _raise_if(problems, "LocalSubjectAccessReview")
        return self._answer(obj, spec, _subject(spec))

    def _self_subject_access(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        spec = _prune(obj.get("spec") or {})
        _raise_if(_access_problems(spec), "SelfSubjectAccessReview")
        return self._answer(obj, spec, user)

    def _answer(self, obj: Object, spec: Object, subject: UserInfo) -> Object:
        attributes, problems = _attributes(spec, subject)
        decision = self._decide(attributes)
        status: Object = {"allowed": decision.allowed}
        if decision.denied:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        if decision.error:
            problems.insert(0, decision.error)
        if problems:
            status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        obj["spec"] = spec
        obj["status"] = status
        return obj

    def _decide(self, attributes: Attributes) -> Decision:
        decision = self._authorizer.authorize(attributes)
        if decision.allowed or NODES_GROUP not in attributes.user.groups:
            return decision
        # Which relation a node lacks is told to the node that asks for the object, not to whom it asks about.
        return decision._replace(reason=self._authorizer.rbac.authorize(attributes).reason)

    def _self_subject_rules(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        namespace = str((obj.get("spec") or {}).get("namespace") or "")
        if not namespace:
            raise errors.BadRequest("no namespace on request")
        rules, problems = self._authorizer.rules(user, namespace)
        status: Object = {
            "resourceRules": [_resource_rule(rule) for rule in rules if rule.resources],
            "nonResourceRules": [
                {"verbs": list(rule.verbs), "nonResourceURLs": list(rule.non_resource_urls)}
                for rule in rules
                if rule.non_resource_urls
            ],
            "incomplete": bool(problems),
        }
        if problems:
            status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return {
            "kind": "SelfSubjectRulesReview",
            "apiVersion": f"{AUTHORIZATION}/v1",
            "metadata": {},
            "spec": {},
            "status": status,
        }

    def _self_subject(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        return {
            "kind": "SelfSubjectReview",
            "apiVersion": f"{AUTHENTICATION}/v1",
            "metadata": {"creationTimestamp": clock.timestamp()},
            "status": {"userInfo": user_info(user)},
        }

    def _token(self, obj: Object, user: UserInfo, namespace: str) -> Object:
        spec = obj.get("spec") or {}
        token = str(spec.get("token") or "")
        if not token:
            raise errors.BadRequest("token is required for TokenReview in authentication")
        audiences = tuple(spec.get("audiences") or ())
        try:
            found = self._authenticator.review(token, audiences)
        except errors.Unauthorized as error:
            obj["status"] = {"user": {}, "error": str(error)}
            return obj
        status: Object = {"authenticated": True, "user": user_info(found.user)}
        if found.audiences:
            status["audiences"] = list(found.audiences)
        obj["status"] = status
        return obj


def _subject(spec: Object) -> UserInfo:
    extra = {str(name).lower(): tuple(values) for name, values in (spec.get("extra") or {}).items()}
    return UserInfo(
        str(spec.get("user") or ""), tuple(spec.get("groups") or ()), str(spec.get("uid") or ""), extra
    )


def _attributes(spec: Object, subject: UserInfo) -> tuple[Attributes, list[str]]:
    """The question that a review asks, and what of its selectors is not understood."""
    resource: Any = spec.get("resourceAttributes")
    if resource is None:
        path = spec["nonResourceAttributes"]
        return Attributes(subject, path.get("verb", ""), path=path.get("path", ""), is_resource=False), []
    field_text, label_text, problems = selectors.from_review(resource)
    attributes = Attributes(
        subject,
        resource.get("verb", ""),
        resource.get("group", ""),
        resource.get("version", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("namespace", ""),
        resource.get("name", ""),
        field_selector=field_text,
        label_selector=label_text,
    )
    return attributes, problems


def _access_problems(spec: Object) -> fields.Errors:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [fields.invalid("spec.nonResourceAttributes", path, why)]
    if resource is None and path is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [fields.invalid("spec.resourceAttributes", None, why)]
    return [] if resource is None else selectors.problems_of(resource)


def _raise_if(problems: fields.Errors, kind: str) -> None:
    if problems:
        raise errors.invalid(AUTHORIZATION, kind, "", problems)


def _prune(value: Object) -> Object:
    """``value`` without empty strings, lists and nulls, which Kubernetes' types do not write out."""
    pruned: Object = {}
    for name, item in value.items():
        if isinstance(item, dict):
            pruned[name] = _prune(item)
        elif item not in ("", None, []):
            pruned[name] = item
    return pruned


def _resource_rule(rule: Rule) -> Object:
    found: Object = {"verbs": list(rule.verbs)}
    if rule.api_groups:
        found["apiGroups"] = list(rule.api_groups)
    if rule.resources:
        found["resources"] = list(rule.resources)
    if rule.resource_names:
        found["resourceNames"] = list(rule.resource_names)
    return found
