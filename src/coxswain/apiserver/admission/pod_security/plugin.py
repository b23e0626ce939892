"""The admission plugin: pods are refused, workloads warned of, namespaces told what their pods violate."""

from __future__ import annotations

from collections.abc import Iterable

from coxswain.api import errors
from coxswain.api.fields import Errors, quote
from coxswain.api.names import GVR, NAMESPACES, PODS, Object
from coxswain.apiserver.admission.pod_security.checks import Violation, evaluate
from coxswain.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from coxswain.apiserver.admission.pod_security.levels import (
    LEVELS,
    PREFIX,
    PRIVILEGED,
    LevelVersion,
    Policy,
    policy_of,
)
from coxswain.apiserver.admission.request import Operation, Plugin, Request
from coxswain.apiserver.lookup import Lookup

#: The audit annotation that says why nothing was looked at.
EXEMPT = "pod-security.kubernetes.io/exempt"
#: Existing pods looked at when a namespace's level rises.
MAX_PODS = 3000

_IGNORED_SUBRESOURCES = frozenset(
    {"exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"}
)
_TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "replicationcontrollers"): ("spec", "template"),
    ("", "podtemplates"): ("template",),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}


class PodSecurity(Plugin):
    """Validates; never changes an object."""

    NAME = "PodSecurity"
    READS = (NAMESPACES,)

    def __init__(self, lookup: Lookup, configuration: PodSecurityConfiguration | None = None) -> None:
        self._lookup = lookup
        self._configuration = configuration or PodSecurityConfiguration()
        self._generation = -1
        self._policies: dict[str, tuple[Policy, bool]] = {}

    def handles(self, operation: Operation, resource: GVR, subresource: str) -> bool:
        if operation not in ("CREATE", "UPDATE"):
            return False
        if resource == PODS:
            return subresource not in _IGNORED_SUBRESOURCES
        return not subresource and (
            resource == NAMESPACES or (resource.group, resource.resource) in _TEMPLATES
        )

    def repeats(self, request: Request) -> bool:
        return True

    def validate(self, request: Request) -> None:
        if request.resource == NAMESPACES:
            self._check_namespace(request)
            return
        if request.namespace in self._configuration.namespaces:
            request.annotations[EXEMPT] = "namespace"
            return
        if request.user.name in self._configuration.usernames:
            request.annotations[EXEMPT] = "user"
            return
        policy, faulty = self._policy(request.namespace)
        if policy.privileged and not faulty:
            return
        if request.resource == PODS:
            self._check_pod(request, policy)
        else:
            self._check_workload(request, policy)

    def _policy(self, namespace: str) -> tuple[Policy, bool]:
        """The policy of a namespace, and whether its labels have faults."""
        generation = self._lookup.generation(NAMESPACES)
        if generation != self._generation:
            self._policies.clear()
            self._generation = generation
        found = self._policies.get(namespace)
        if found is None:
            obj = self._lookup.get(NAMESPACES, "", namespace)
            if obj is None:
                raise errors.InternalError(
                    f"Internal error occurred: failed to lookup namespace {quote(namespace)}"
                )
            policy, problems = self._evaluated(obj)
            found = self._policies[namespace] = (policy, bool(problems))
        return found

    def _evaluated(self, namespace: Object) -> tuple[Policy, Errors]:
        return policy_of(namespace["metadata"].get("labels") or {}, self._configuration.defaults)

    def _is_exempt(self, request: Request, spec: Object) -> bool:
        """Whether pods of this runtime class are let alone."""
        exempt = spec.get("runtimeClassName") in self._configuration.runtime_classes
        if exempt:
            request.annotations[EXEMPT] = "runtimeClass"
        return exempt

    def _check_pod(self, request: Request, policy: Policy) -> None:
        pod = request.object or {}
        if request.operation == "UPDATE" and not _significant(pod, request.old_object or {}):
            return
        metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
        if self._is_exempt(request, spec):
            return
        request.annotations["pod-security.kubernetes.io/enforce-policy"] = str(policy.enforce)
        violations = evaluate(policy.enforce, metadata, spec)
        if violations:
            _note_audit(request, policy, metadata, spec)
            name = str(request.name or metadata.get("name") or "")
            why = f"violates PodSecurity {quote(str(policy.enforce))}: {_listed(violations)}"
            raise errors.forbidden(request.resource, name, why)
        _note(request, policy, metadata, spec)

    def _check_workload(self, request: Request, policy: Policy) -> None:
        if policy.warn.level == policy.audit.level == PRIVILEGED:
            return
        template = request.object or {}
        for field in _TEMPLATES[request.resource.group, request.resource.resource]:
            template = template.get(field) or {}
        spec = template.get("spec") or {}
        if template and not self._is_exempt(request, spec):
            _note(request, policy, template.get("metadata") or {}, spec)

    def _check_namespace(self, request: Request) -> None:
        obj = request.object or {}
        policy, problems = self._evaluated(obj)
        name = str(obj["metadata"].get("name") or "")
        if request.operation == "CREATE":
            if problems:
                raise errors.invalid("", "Namespace", name, problems)
            if name in self._configuration.namespaces:
                self._warn_exempt(request, obj, policy)
            return
        before, former = self._evaluated(request.old_object or {})
        if problems and problems != former:
            raise errors.invalid("", "Namespace", name, problems)
        new, old = policy.enforce, before.enforce
        lowered = new.version == old.version and LEVELS.index(new.level) <= LEVELS.index(old.level)
        if new == old or new.level == PRIVILEGED or lowered:
            return
        if name in self._configuration.namespaces:
            self._warn_exempt(request, obj, policy)
            return
        pods = [
            pod
            for pod in self._lookup.list(PODS, name)
            if (pod.get("spec") or {}).get("runtimeClassName") not in self._configuration.runtime_classes
        ]
        request.warnings += _existing(name, new, pods)

    def _warn_exempt(self, request: Request, namespace: Object, policy: Policy) -> None:
        """Tell who labels an exempt namespace that it is in vain."""
        if policy.privileged or policy == self._configuration.defaults:
            return
        labels = namespace["metadata"].get("labels") or {}
        said = [
            f"{mode}={part}"
            for mode, part in (("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn))
            if part.level != PRIVILEGED and (PREFIX + mode in labels or f"{PREFIX}{mode}-version" in labels)
        ]
        name = quote(namespace["metadata"]["name"])
        request.warnings.append(
            f"namespace {name} is exempt from Pod Security, and the policy ({', '.join(said)}) will be ignored"
        )


def _listed(violations: Iterable[Violation]) -> str:
    return ", ".join(map(str, violations))


def _note(request: Request, policy: Policy, metadata: Object, spec: Object) -> None:
    """What the audit log and the client are told of a pod (template) that is let through."""
    _note_audit(request, policy, metadata, spec)
    violations = evaluate(policy.warn, metadata, spec)
    if violations:
        request.warnings.append(f"would violate PodSecurity {quote(str(policy.warn))}: {_listed(violations)}")


def _note_audit(request: Request, policy: Policy, metadata: Object, spec: Object) -> None:
    violations = evaluate(policy.audit, metadata, spec)
    if violations:
        text = f"would violate PodSecurity {quote(str(policy.audit))}: {_listed(violations)}"
        request.annotations["pod-security.kubernetes.io/audit-violations"] = text


def _significant(pod: Object, old: Object) -> bool:
    """Whether an update could change the verdict: other containers or images."""
    new_spec, old_spec = pod.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        images = [[c.get("image") for c in spec.get(field) or ()] for spec in (new_spec, old_spec)]
        if images[0] != images[1]:
            return True
    known = {c.get("name"): c.get("image") for c in old_spec.get("ephemeralContainers") or ()}
    return any(
        c.get("name") not in known or known[c.get("name")] != c.get("image")
        for c in new_spec.get("ephemeralContainers") or ()
    )


def _existing(namespace: str, enforce: LevelVersion, pods: list[Object]) -> list[str]:
    """Warnings about pods that a raised level would not admit, equal ones counted together."""
    warnings: list[str] = []
    checked = _prioritized(pods)[:MAX_PODS]
    if len(checked) < len(pods):
        warnings.append(
            f"new PodSecurity enforce level only checked against the first {len(checked)} of {len(pods)} "
            "existing pods"
        )
    names: dict[str, list[str]] = {}
    for pod in checked:
        violations = evaluate(enforce, pod["metadata"], pod.get("spec") or {})
        if violations:
            reasons = ", ".join(violation.reason for violation in violations)
            names.setdefault(reasons, []).append(pod["metadata"]["name"])
    if names:
        warnings.append(
            f"existing pods in namespace {quote(namespace)} violate the new PodSecurity enforce level "
            f"{quote(str(enforce))}"
        )
    return warnings + sorted(_counted(reasons, found) for reasons, found in names.items())


def _counted(reasons: str, names: list[str]) -> str:
    first, others = min(names), len(names) - 1
    if not others:
        return f"{first}: {reasons}"
    return f"{first} (and {others} other {'pod' if others == 1 else 'pods'}): {reasons}"


def _prioritized(pods: list[Object]) -> list[Object]:
    """One pod of every controller first."""
    first: list[Object] = []
    rest: list[Object] = []
    seen: set[str] = set()
    for pod in pods:
        owners = pod["metadata"].get("ownerReferences") or ()
        owner = next((o.get("uid") for o in owners if o.get("controller")), None)
        (rest if owner in seen else first).append(pod)
        if owner is not None:
            seen.add(owner)
    return first + rest
