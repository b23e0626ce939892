"""Where daemon pods belong (Kubernetes' ``NodeShouldRunDaemonPod``) and how one is tied to its node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coxswain.api import meta
from coxswain.api.names import Object
from coxswain.api.selectors import Requirement
from coxswain.controllers.history.revisions import REVISION_LABEL
from coxswain.controllers.pods import pod_from_template
from coxswain.controllers.tolerations import tolerates

GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_OPERATORS = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

#: (a pod should be made on the node, one that is there may stay)
Verdict = tuple[bool, bool]


def daemon_tolerations(spec: Object) -> list[Object]:
    """The template's tolerations and those of every daemon pod (``AddOrUpdateDaemonPodTolerations``)."""
    kinds = [("not-ready", "NoExecute"), ("unreachable", "NoExecute")]
    kinds += [(f"{what}-pressure", "NoSchedule") for what in ("disk", "memory", "pid")]
    kinds.append(("unschedulable", "NoSchedule"))
    if spec.get("hostNetwork"):
        kinds.append(("network-unavailable", "NoSchedule"))
    ours = [
        {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
        for name, effect in kinds
    ]

    def replaced(toleration: Object) -> bool:
        same = (toleration.get("key"), toleration.get("operator"), toleration.get("effect"))
        return not toleration.get("value") and any(
            same == (one["key"], one["operator"], one["effect"]) for one in ours
        )

    return [one for one in spec.get("tolerations") or () if not replaced(one)] + ours


def verdict_of(daemon_set: Object) -> Callable[[Object], Verdict]:
    """A function that says for a node whether the set's pod should run there, or may go on running."""
    spec = daemon_set["spec"]["template"]["spec"]
    tolerations = daemon_tolerations(spec)
    wanted_node = spec.get("nodeName")
    selector = (spec.get("nodeSelector") or {}).items()
    terms = _required_terms(spec.get("affinity") or {})

    def verdict(node: Object) -> Verdict:
        labels = meta.labels(node)
        if wanted_node and wanted_node != meta.name(node):
            return False, False
        if not selector <= labels.items():
            return False, False
        if terms is not None and not any(_term_matches(term, node) for term in terms):
            return False, False
        untolerated = {
            taint["effect"]
            for taint in (node.get("spec") or {}).get("taints") or ()
            if not any(tolerates(toleration, taint) for toleration in tolerations)
        }
        if "NoExecute" in untolerated:
            return False, False
        return "NoSchedule" not in untolerated, True

    return verdict


def _required_terms(affinity: Object) -> Sequence[Object] | None:
    required = (affinity.get("nodeAffinity") or {}).get(_REQUIRED)
    return None if required is None else required.get("nodeSelectorTerms") or ()


def _term_matches(term: Object, node: Object) -> bool:
    """All expressions and fields hold; a term without any matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    labels, names = meta.labels(node), {"metadata.name": meta.name(node)}
    return all(_holds(one, labels) for one in expressions) and all(_holds(one, names) for one in fields)


def _holds(expression: Object, values: dict[str, str]) -> bool:
    operator = _OPERATORS.get(expression["operator"])
    if operator is None:
        return False
    wanted = tuple(expression.get("values") or ())
    return Requirement(expression["key"], operator, wanted).matches(values)


def new_pod(daemon_set: Object, node_name: str, hashed: str) -> Object:
    """A pod to be created for the node: required node affinity leaves the scheduler no other."""
    pod = pod_from_template(daemon_set["spec"]["template"], daemon_set)
    labels = {**(pod["metadata"].get("labels") or {}), REVISION_LABEL: hashed}
    generation = meta.annotations(daemon_set).get(GENERATION_ANNOTATION)
    if generation is not None:
        labels[GENERATION_LABEL] = generation
    pod["metadata"]["labels"] = labels
    spec = pod["spec"]
    pod["spec"] = {
        **spec,
        "tolerations": daemon_tolerations(spec),
        "affinity": _tied(spec.get("affinity") or {}, node_name),
    }
    return pod


def _tied(affinity: Object, node_name: str) -> Object:
    field = {"key": "metadata.name", "operator": "In", "values": [node_name]}
    required = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {**affinity, "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), _REQUIRED: required}}


def target_node(pod: Object) -> str:
    """The node that a daemon pod is on or meant for; empty when it says none (``GetTargetNodeName``)."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    for term in _required_terms(pod["spec"].get("affinity") or {}) or ():
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In" and field.get("values"):
                return str(field["values"][0])
    return ""
