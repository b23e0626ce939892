"""Defaults of rules and classes: RBAC, storage, networking, scaling, admission, priorities."""

from __future__ import annotations

from coxswain.api.names import Object

_RBAC = "rbac.authorization.k8s.io"


def _set(obj: Object, field: str, value: object) -> None:
    if obj.get(field) is None:
        obj[field] = value


def _binding(binding: Object) -> None:
    reference = binding.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = _RBAC
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = _RBAC


def _storage_class(storage: Object) -> None:
    _set(storage, "reclaimPolicy", "Delete")
    _set(storage, "volumeBindingMode", "Immediate")


def _csi_driver(driver: Object) -> None:
    spec = driver.setdefault("spec", {})
    for field, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        _set(spec, field, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _network_policy(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                _set(port, "protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _ingress_class(ingress_class: Object) -> None:
    parameters = (ingress_class.get("spec") or {}).get("parameters")
    if parameters is not None:
        _set(parameters, "scope", "Cluster")


def _autoscaler(autoscaler: Object) -> None:
    spec = autoscaler.setdefault("spec", {})
    _set(spec, "minReplicas", 1)
    v2 = autoscaler.get("apiVersion") != "autoscaling/v1"
    if not v2:
        _set(spec, "targetCPUUtilizationPercentage", 80)
        return
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        up = behavior.get("scaleUp")
        behavior["scaleUp"] = up if up is not None else {}
        down = behavior.get("scaleDown")
        behavior["scaleDown"] = down if down is not None else {}
        _default_scaling(behavior["scaleUp"], 0, [("Pods", 4), ("Percent", 100)])
        _default_scaling(behavior["scaleDown"], None, [("Percent", 100)])


def _default_scaling(rules: Object, window: int | None, policies: list[tuple[str, int]]) -> None:
    if window is not None:
        _set(rules, "stabilizationWindowSeconds", window)
    _set(rules, "selectPolicy", "Max")
    if rules.get("policies") is None:
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in policies]


def _webhooks(configuration: Object) -> None:
    mutating = configuration.get("kind") == "MutatingWebhookConfiguration"
    for webhook in configuration.get("webhooks") or ():
        _set(webhook, "failurePolicy", "Fail")
        _set(webhook, "matchPolicy", "Equivalent")
        _set(webhook, "namespaceSelector", {})
        _set(webhook, "objectSelector", {})
        _set(webhook, "timeoutSeconds", 10)
        if mutating:
            _set(webhook, "reinvocationPolicy", "Never")
        for rule in webhook.get("rules") or ():
            _set(rule, "scope", "*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if service is not None:
            _set(service, "port", 443)


def _admission_policy(policy: Object) -> None:
    spec = policy.setdefault("spec", {})
    _set(spec, "failurePolicy", "Fail")
    constraints = spec.get("matchConstraints")
    if constraints is not None:
        _default_match(constraints)


def _admission_binding(binding: Object) -> None:
    match = (binding.get("spec") or {}).get("matchResources")
    if match is not None:
        _default_match(match)


def _default_match(match: Object) -> None:
    _set(match, "matchPolicy", "Equivalent")
    _set(match, "namespaceSelector", {})
    _set(match, "objectSelector", {})
    for kind in ("resourceRules", "excludeResourceRules"):
        for rule in match.get(kind) or ():
            _set(rule, "scope", "*")


def _priority_class(priority: Object) -> None:
    _set(priority, "preemptionPolicy", "PreemptLowerPriority")


def _certificate_request(request: Object) -> None:
    spec = request.setdefault("spec", {})
    if not spec.get("usages"):
        spec["usages"] = ["digital signature", "key encipherment"]


def _api_service(service: Object) -> None:
    reference = (service.get("spec") or {}).get("service")
    if reference is not None:
        _set(reference, "port", 443)


def _flow_schema(schema: Object) -> None:
    spec = schema.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = 1000


def _priority_level(level: Object) -> None:
    spec = level.setdefault("spec", {})
    if spec.get("type") == "Exempt":
        exempt = spec.get("exempt")
        if exempt is None:
            exempt = spec["exempt"] = {}
        _set(exempt, "nominalConcurrencyShares", 0)
        _set(exempt, "lendablePercent", 0)
    limited = spec.get("limited")
    if limited is None:
        return
    _set(limited, "nominalConcurrencyShares", 30)
    _set(limited, "lendablePercent", 0)
    response = limited.get("limitResponse") or {}
    queuing = response.get("queuing")
    if queuing is not None:
        for field, value in (("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)):
            if not queuing.get(field):
                queuing[field] = value


def _default_claim(spec: Object) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        for wanted in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if wanted is not None:
                if not wanted.get("allocationMode"):
                    wanted["allocationMode"] = "ExactCount"
                if wanted["allocationMode"] == "ExactCount" and not wanted.get("count"):
                    wanted["count"] = 1


def _resource_claim(claim: Object) -> None:
    _default_claim(claim.get("spec") or {})


def _resource_claim_template(template: Object) -> None:
    _default_claim((template.get("spec") or {}).get("spec") or {})


_ADMISSION = "admissionregistration.k8s.io"
_FLOW = "flowcontrol.apiserver.k8s.io"
DEFAULTS = {
    (_RBAC, "RoleBinding"): _binding,
    (_RBAC, "ClusterRoleBinding"): _binding,
    ("storage.k8s.io", "StorageClass"): _storage_class,
    ("storage.k8s.io", "CSIDriver"): _csi_driver,
    ("networking.k8s.io", "NetworkPolicy"): _network_policy,
    ("networking.k8s.io", "IngressClass"): _ingress_class,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    (_ADMISSION, "MutatingWebhookConfiguration"): _webhooks,
    (_ADMISSION, "ValidatingWebhookConfiguration"): _webhooks,
    (_ADMISSION, "ValidatingAdmissionPolicy"): _admission_policy,
    (_ADMISSION, "MutatingAdmissionPolicy"): _admission_policy,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): _admission_binding,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): _admission_binding,
    ("scheduling.k8s.io", "PriorityClass"): _priority_class,
    ("certificates.k8s.io", "CertificateSigningRequest"): _certificate_request,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("resource.k8s.io", "ResourceClaim"): _resource_claim,
    ("resource.k8s.io", "ResourceClaimTemplate"): _resource_claim_template,
    (_FLOW, "FlowSchema"): _flow_schema,
    (_FLOW, "PriorityLevelConfiguration"): _priority_level,
}
