"""The volume plugins written for one pod and one node at a time, from kube-scheduler's rules.

``Cluster`` has plain lists of objects. Each function returns None (fine) or (code, reasons).
"""

from __future__ import annotations

from typing import Any

from coxswain.api.quantity import Quantity
from coxswain.api.selectors import label_selector_from

Object = dict[str, Any]
UNSCHEDULABLE, UNRESOLVABLE = "Unschedulable", "UnschedulableAndUnresolvable"
Outcome = tuple[str, tuple[str, ...]] | None


class Cluster:
    def __init__(self, nodes: list[Object], pods: list[Object], objects: dict[str, list[Object]]) -> None:
        self.nodes = nodes
        self.pods = pods
        self.objects = objects

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        for obj in self.objects.get(kind, []):
            metadata = obj["metadata"]
            if metadata["name"] == name and (metadata.get("namespace") or "") == namespace:
                return obj
        return None

    def claim(self, pod: Object, name: str) -> Object | None:
        return self.get("persistentVolumeClaims", name, pod["metadata"]["namespace"])

    def on(self, node: Object) -> list[Object]:
        return [pod for pod in self.pods if pod["spec"]["nodeName"] == node["metadata"]["name"]]


def volumes_of(pod: Object) -> list[Object]:
    found: list[Object] = pod["spec"].get("volumes") or []
    return found


def claim_class(obj: Object) -> str:
    return str(obj["spec"].get("storageClassName") or "")


def labels_of(node: Object) -> dict[str, str]:
    return node["metadata"].get("labels") or {}


def missing(name: str) -> Outcome:
    return UNRESOLVABLE, (f'persistentvolumeclaim "{name}" not found',)


# -- VolumeRestrictions --------------------------------------------------------------------------------


def restrictions_prefilter(cluster: Cluster, pod: Object) -> Outcome:
    for volume in volumes_of(pod):
        source = volume.get("persistentVolumeClaim")
        if source and cluster.claim(pod, source["claimName"]) is None:
            return missing(source["claimName"])
    return None


def restrictions(cluster: Cluster, pod: Object, node: Object) -> Outcome:
    for volume in volumes_of(pod):
        for other in cluster.on(node):
            for theirs in volumes_of(other):
                if clash(volume, theirs):
                    return UNSCHEDULABLE, ("node(s) had no available disk",)
    for volume in volumes_of(pod):
        if source := volume.get("persistentVolumeClaim"):
            claim = cluster.claim(pod, source["claimName"])
            assert claim is not None
            if "ReadWriteOncePod" not in claim["spec"]["accessModes"]:
                continue
            for other in cluster.pods:
                same = other["metadata"]["namespace"] == pod["metadata"]["namespace"]
                if same and any(v.get("persistentVolumeClaim") == source for v in volumes_of(other)):
                    text = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod"
                    return UNSCHEDULABLE, (f"{text} access mode",)
    return None


def clash(a: Object, b: Object) -> bool:
    if "gcePersistentDisk" in a and "gcePersistentDisk" in b:
        x, y = a["gcePersistentDisk"], b["gcePersistentDisk"]
        return x["pdName"] == y["pdName"] and not (x.get("readOnly") and y.get("readOnly"))
    if "awsElasticBlockStore" in a and "awsElasticBlockStore" in b:
        return bool(a["awsElasticBlockStore"]["volumeID"] == b["awsElasticBlockStore"]["volumeID"])
    if "iscsi" in a and "iscsi" in b:
        x, y = a["iscsi"], b["iscsi"]
        return x["iqn"] == y["iqn"] and not (x.get("readOnly") and y.get("readOnly"))
    if "rbd" in a and "rbd" in b:
        x, y = a["rbd"], b["rbd"]
        return (
            any(monitor in y["monitors"] for monitor in x["monitors"])
            and (x["pool"], x["image"]) == (y["pool"], y["image"])
            and not (x.get("readOnly") and y.get("readOnly"))
        )
    return False


# -- NodeVolumeLimits ----------------------------------------------------------------------------------


def limits(cluster: Cluster, pod: Object, node: Object) -> Outcome:
    csi_node = cluster.get("csiNodes", node["metadata"]["name"])
    new = attached(cluster, pod, csi_node)
    if not new or csi_node is None:
        return None
    allowed = {}
    for driver in csi_node["spec"]["drivers"]:
        if "allocatable" in driver:
            allowed[driver["name"]] = driver["allocatable"]["count"]
    there: dict[str, str] = {}
    for attachment in cluster.objects.get("volumeAttachments", []):
        if attachment["spec"]["nodeName"] == node["metadata"]["name"]:
            pv = cluster.get("persistentVolumes", attachment["spec"]["source"]["persistentVolumeName"])
            if pv is not None and "csi" in pv["spec"]:
                there[f"{attachment['spec']['attacher']}/{pv['spec']['csi']['volumeHandle']}"] = attachment[
                    "spec"
                ]["attacher"]
    for other in cluster.on(node):
        there.update(attached(cluster, other, csi_node))
    for driver in set(new.values()):
        used = sum(1 for each in there.values() if each == driver)
        more = sum(1 for name, each in new.items() if each == driver and name not in there)
        if more and driver in allowed and used + more > allowed[driver]:
            return UNSCHEDULABLE, ("node(s) exceed max volume count",)
    return None


def attached(cluster: Cluster, pod: Object, csi_node: Object | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for volume in volumes_of(pod):
        if "awsElasticBlockStore" in volume and csi_node is not None:
            handle = volume["awsElasticBlockStore"]["volumeID"]
            found[f"ebs.csi.aws.com/{handle}"] = "ebs.csi.aws.com"
        if "gcePersistentDisk" in volume and csi_node is not None:
            handle = f"projects/UNSPECIFIED/zones/UNSPECIFIED/disks/{volume['gcePersistentDisk']['pdName']}"
            found[f"pd.csi.storage.gke.io/{handle}"] = "pd.csi.storage.gke.io"
        source = volume.get("persistentVolumeClaim")
        claim = cluster.claim(pod, source["claimName"]) if source else None
        if claim is None:
            continue
        pv = cluster.get("persistentVolumes", claim["spec"].get("volumeName") or "")
        if pv is not None:
            if "csi" in pv["spec"]:
                csi = pv["spec"]["csi"]
                found[f"{csi['driver']}/{csi['volumeHandle']}"] = csi["driver"]
            continue
        storage_class = cluster.get("storageClasses", claim_class(claim))
        if storage_class is not None:
            found[f"?{claim['metadata']['name']}"] = storage_class["provisioner"]
    return found


# -- VolumeZone ----------------------------------------------------------------------------------------

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
OLD_ZONE, OLD_REGION = (
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
)


def zone_volumes(cluster: Cluster, pod: Object) -> list[Object] | str:
    found = []
    for volume in volumes_of(pod):
        if source := volume.get("persistentVolumeClaim"):
            name = source["claimName"]
            claim = cluster.claim(pod, name)
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if pv_name := claim["spec"].get("volumeName"):
                pv = cluster.get("persistentVolumes", pv_name)
                if pv is None:
                    return f'persistentvolume "{pv_name}" not found'
                found.append(pv)
                continue
            if not claim_class(claim):
                return "PersistentVolumeClaim had no pv name and storageClass name"
            storage_class = cluster.get("storageClasses", claim_class(claim))
            if storage_class is None:
                return f'storageclass.storage.k8s.io "{claim_class(claim)}" not found'
            if storage_class["volumeBindingMode"] != "WaitForFirstConsumer":
                return "PersistentVolume had no name"
    return found


def zone_prefilter(cluster: Cluster, pod: Object) -> Outcome:
    found = zone_volumes(cluster, pod)
    return (UNRESOLVABLE, (found,)) if isinstance(found, str) else None


def zone(cluster: Cluster, pod: Object, node: Object) -> Outcome:
    labels = labels_of(node)
    if not any(key in labels for key in (ZONE, REGION, OLD_ZONE, OLD_REGION)):
        return None
    for pv in zone_volumes(cluster, pod):
        assert isinstance(pv, dict)
        for key, current in ((OLD_ZONE, ZONE), (OLD_REGION, REGION), (ZONE, ZONE), (REGION, REGION)):
            text = (pv["metadata"].get("labels") or {}).get(key)
            if text is None or "" in text.split("__"):
                continue
            value = labels.get(key, labels.get(current))
            if value not in text.split("__"):
                return UNRESOLVABLE, ("node(s) had no available volume zone",)
    return None


# -- VolumeBinding -------------------------------------------------------------------------------------


def requirement(expression: Object, labels: dict[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")


def reaches(pv: Object, node: Object) -> bool:
    affinity = pv["spec"].get("nodeAffinity")
    if not affinity:
        return True
    return any(
        all(requirement(expression, labels_of(node)) for expression in term["matchExpressions"])
        for term in affinity["required"]["nodeSelectorTerms"]
        if term["matchExpressions"]
    )


def size_of(claim: Object) -> int:
    return Quantity.parse(claim["spec"]["resources"]["requests"]["storage"]).value()


def kept_for(pv: Object, claim: Object) -> bool:
    reference = pv["spec"].get("claimRef")
    return bool(
        reference
        and reference["name"] == claim["metadata"]["name"]
        and reference["namespace"] == claim["metadata"]["namespace"]
        and reference.get("uid") in (None, claim["metadata"]["uid"])
    )


def pod_claims(cluster: Cluster, pod: Object) -> list[Object] | str:
    found = []
    for volume in volumes_of(pod):
        if "ephemeral" in volume:
            name = f"{pod['metadata']['name']}-{volume['name']}"
        elif "persistentVolumeClaim" in volume:
            name = volume["persistentVolumeClaim"]["claimName"]
        else:
            continue
        claim = cluster.claim(pod, name)
        if claim is None:
            if "ephemeral" in volume:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        if claim["status"]["phase"] == "Lost":
            volume_name = claim["spec"]["volumeName"]
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume_name}"'
        if "deletionTimestamp" in claim["metadata"]:
            return f'persistentvolumeclaim "{name}" is being deleted'
        if "ephemeral" in volume:
            owners = claim["metadata"].get("ownerReferences") or [{}]
            if owners[0].get("uid") != pod["metadata"]["uid"]:
                place = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                text = f"PVC {pod['metadata']['namespace']}/{name} was not created for pod {place}"
                return f"{text} (pod is not owner)"
        found.append(claim)
    return found


def is_bound(claim: Object) -> bool:
    done = "pv.kubernetes.io/bind-completed" in (claim["metadata"].get("annotations") or {})
    return bool(claim["spec"].get("volumeName")) and done


def binding_prefilter(cluster: Cluster, pod: Object) -> Outcome:
    claims = pod_claims(cluster, pod)
    if isinstance(claims, str):
        return UNRESOLVABLE, (claims,)
    for claim in claims:
        storage_class = cluster.get("storageClasses", claim_class(claim))
        waits = storage_class and storage_class["volumeBindingMode"] == "WaitForFirstConsumer"
        if not is_bound(claim) and (not waits or claim["spec"].get("volumeName")):
            return UNRESOLVABLE, ("pod has unbound immediate PersistentVolumeClaims",)
    return None


def binding(cluster: Cluster, pod: Object, node: Object) -> Outcome:
    claims = pod_claims(cluster, pod)
    assert not isinstance(claims, str)
    reasons: list[str] = []
    bound = [claim for claim in claims if is_bound(claim)]
    lost, conflict = False, False
    for claim in bound:
        pv = cluster.get("persistentVolumes", claim["spec"]["volumeName"])
        if pv is None:
            lost = True
            break
        if not reaches(pv, node):
            conflict = True
            break
    if conflict:
        reasons.append("node(s) had volume node affinity conflict")
    reasons += unbound(cluster, [claim for claim in claims if not is_bound(claim)], node)
    if lost:
        reasons.append("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
    return (UNRESOLVABLE, tuple(reasons)) if reasons else None


def unbound(cluster: Cluster, claims: list[Object], node: Object) -> list[str]:
    no_match = ["node(s) didn't find available persistent volumes to bind"]
    provision, match = [], []
    for claim in claims:
        selected = (claim["metadata"].get("annotations") or {}).get("volume.kubernetes.io/selected-node")
        if selected is None:
            match.append(claim)
        elif selected != node["metadata"]["name"]:
            return no_match
        else:
            provision.append(claim)
    chosen: list[str] = []
    for claim in sorted(match, key=size_of):
        pv = match_volume(cluster, claim, node, chosen)
        if pv is None:
            provision.append(claim)
        else:
            chosen.append(pv["metadata"]["name"])
    for claim in provision:
        storage_class = cluster.get("storageClasses", claim_class(claim))
        assert storage_class is not None
        if storage_class["provisioner"] == "kubernetes.io/no-provisioner":
            return no_match
        terms = storage_class.get("allowedTopologies")
        if terms and not any(
            all(labels_of(node).get(e["key"]) in e["values"] for e in term["matchLabelExpressions"])
            for term in terms
        ):
            return no_match
        driver = cluster.get("csiDrivers", storage_class["provisioner"])
        if (
            driver is not None
            and driver["spec"].get("storageCapacity")
            and not any(
                has_room(capacity, claim, node) for capacity in cluster.objects["csiStorageCapacities"]
            )
        ):
            return ["node(s) did not have enough free storage"]
    return []


def has_room(capacity: Object, claim: Object, node: Object) -> bool:
    limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
    topology = capacity.get("nodeTopology")
    return (
        capacity["storageClassName"] == claim_class(claim)
        and limit is not None
        and Quantity.parse(limit).value() >= size_of(claim)
        and topology is not None
        and label_selector_from(topology).matches(labels_of(node))
    )


def match_volume(cluster: Cluster, claim: Object, node: Object, chosen: list[str]) -> Object | None:
    best: tuple[int, str, Object] | None = None
    for pv in sorted(cluster.objects["persistentVolumes"], key=lambda pv: str(pv["metadata"]["name"])):
        metadata, spec = pv["metadata"], pv["spec"]
        if metadata["name"] in chosen or claim_class(pv) != claim_class(claim):
            continue
        if spec.get("claimRef") and not kept_for(pv, claim):
            continue
        room = Quantity.parse(spec["capacity"]["storage"]).value()
        if room < size_of(claim) or "deletionTimestamp" in metadata:
            continue
        if (spec.get("volumeMode") or "Filesystem") != (claim["spec"].get("volumeMode") or "Filesystem"):
            continue
        if kept_for(pv, claim):
            return pv if reaches(pv, node) else None
        if pv["status"]["phase"] != "Available" or not reaches(pv, node):
            continue
        selector = claim["spec"].get("selector")
        if selector and not label_selector_from(selector).matches(metadata.get("labels") or {}):
            continue
        if not all(mode in spec["accessModes"] for mode in claim["spec"]["accessModes"]):
            continue
        if best is None or (room, metadata["name"]) < best[:2]:
            best = (room, metadata["name"], pv)
    return best[2] if best else None
