"""Volumes of pods, persistent volumes and claims, and the storage group's kinds."""

from __future__ import annotations

from typing import Any

import pytest

from api_rules import (
    ABSENT,
    DUPLICATE,
    FORBIDDEN,
    IMMUTABLE,
    INVALID,
    LABEL,
    NONNEGATIVE,
    NOT_SUPPORTED,
    POSITIVE,
    REQUIRED,
    SUBDOMAIN,
    TOO_LONG,
    Edits,
    Row,
    Rows,
    check_accepted,
    check_refused,
    check_refused_undefaulted,
    check_update_accepted,
    check_update_refused,
    make,
)
from coxswain.api.names import Object

IQN = "iqn.2001-04.com.example:storage"
LUN = "must be between 0 and 255, inclusive"


def pod(*volumes: Object) -> Object:
    return make("v1", "Pod", spec={"containers": [{"name": "c", "image": "i"}], "volumes": list(volumes)})


SOURCES: list[tuple[str, Object, str, str, str]] = [
    (
        "emptyDir",
        {"sizeLimit": "-1"},
        ".emptyDir.sizeLimit",
        FORBIDDEN,
        "SizeLimit field must be a valid resource quantity",
    ),
    ("hostPath", {}, ".hostPath.path", REQUIRED, ""),
    ("hostPath", {"path": "/a/.."}, ".hostPath.path", INVALID, "must not contain '..'"),
    (
        "hostPath",
        {"path": "/a", "type": "Odd"},
        ".hostPath.type",
        NOT_SUPPORTED,
        '"", "BlockDevice", "CharDevice"',
    ),
    ("gitRepo", {}, ".gitRepo.repository", REQUIRED, ""),
    (
        "gitRepo",
        {"repository": "r", "directory": "/a"},
        ".gitRepo.directory",
        INVALID,
        "must be a relative path",
    ),
    ("gcePersistentDisk", {}, ".persistentDisk.pdName", REQUIRED, ""),
    (
        "awsElasticBlockStore",
        {"volumeID": "v", "partition": 256},
        ".awsElasticBlockStore.partition",
        INVALID,
        "255, inclusive",
    ),
    ("secret", {}, ".secret.secretName", REQUIRED, ""),
    (
        "secret",
        {"secretName": "s", "defaultMode": 512},
        ".secret.defaultMode",
        INVALID,
        "between 0 and 0777 (octal)",
    ),
    ("configMap", {"name": "c", "items": [{}]}, ".configMap.items[0].key", REQUIRED, ""),
    ("configMap", {"name": "c", "items": [{}]}, ".configMap.items[0].path", REQUIRED, ""),
    (
        "configMap",
        {"name": "c", "items": [{"key": "k", "path": "..a"}]},
        ".configMap.items[0].path",
        INVALID,
        "start with '..'",
    ),
    ("nfs", {"path": "a"}, ".nfs.server", REQUIRED, ""),
    ("nfs", {"server": "s", "path": "a"}, ".nfs.path", INVALID, "must be an absolute path"),
    ("iscsi", {"iqn": IQN}, ".iscsi.targetPortal", REQUIRED, ""),
    ("iscsi", {"targetPortal": "p"}, ".iscsi.iqn", REQUIRED, ""),
    (
        "iscsi",
        {"targetPortal": "p", "iqn": "odd"},
        ".iscsi.iqn",
        INVALID,
        "must be valid format starting with iqn, eui, or naa",
    ),
    ("iscsi", {"targetPortal": "p", "iqn": "eui.1"}, ".iscsi.iqn", INVALID, "must be valid format"),
    ("iscsi", {"targetPortal": "p", "iqn": IQN, "lun": 256}, ".iscsi.lun", INVALID, LUN),
    ("iscsi", {"targetPortal": "p", "iqn": IQN, "chapAuthSession": True}, ".iscsi.secretRef", REQUIRED, ""),
    (
        "iscsi",
        {"targetPortal": "p", "iqn": IQN, "initiatorName": "odd"},
        ".iscsi.initiatorname",
        INVALID,
        "iqn, eui, or naa",
    ),
    (
        "iscsi",
        {"targetPortal": "p" * 64, "iqn": IQN, "initiatorName": IQN},
        ".name",
        INVALID,
        "must be under 64 characters",
    ),
    ("glusterfs", {"path": "p"}, ".glusterfs.endpoints", REQUIRED, ""),
    ("persistentVolumeClaim", {}, ".persistentVolumeClaim.claimName", REQUIRED, ""),
    ("flocker", {}, ".flocker", REQUIRED, "one of datasetName and datasetUUID is required"),
    (
        "flocker",
        {"datasetName": "a", "datasetUUID": "b"},
        ".flocker",
        INVALID,
        "can not be specified simultaneously",
    ),
    ("flocker", {"datasetName": "a/b"}, ".flocker.datasetName", INVALID, "must not contain '/'"),
    ("rbd", {"monitors": ["m"]}, ".rbd.image", REQUIRED, ""),
    ("cinder", {"volumeID": "v", "secretRef": {}}, ".cinder.secretRef.name", REQUIRED, ""),
    ("cephfs", {}, ".cephfs.monitors", REQUIRED, ""),
    (
        "quobyte",
        {"volume": "v"},
        ".quobyte.registry",
        REQUIRED,
        "must be a host:port pair or multiple pairs separated",
    ),
    (
        "quobyte",
        {"volume": "v", "registry": "a"},
        ".quobyte.registry",
        INVALID,
        "must be a host:port pair or multiple",
    ),
    (
        "quobyte",
        {"registry": "a:1", "tenant": "t" * 65},
        ".quobyte.tenant",
        REQUIRED,
        "may not exceed a length of 64",
    ),
    ("quobyte", {"registry": "a:1"}, ".quobyte.volume", REQUIRED, ""),
    ("fc", {}, ".fc.targetWWNs", REQUIRED, "must specify either targetWWNs or wwids, but not both"),
    (
        "fc",
        {"targetWWNs": ["a"], "wwids": ["b"]},
        ".fc.targetWWNs",
        INVALID,
        "can not be specified simultaneously",
    ),
    ("fc", {"targetWWNs": ["a"]}, ".fc.lun", REQUIRED, "lun is required if targetWWNs is specified"),
    ("fc", {"targetWWNs": ["a"], "lun": 256}, ".fc.lun", INVALID, LUN),
    ("flexVolume", {}, ".flexVolume.driver", REQUIRED, ""),
    (
        "flexVolume",
        {"driver": "d", "options": {"a.k8s.io/b": "c"}},
        ".flexVolume.options[a.k8s.io/b]",
        INVALID,
        "kubernetes.io and k8s.io namespaces are reserved",
    ),
    ("azureFile", {"secretName": "s"}, ".azureFile.shareName", REQUIRED, ""),
    ("vsphereVolume", {}, ".vsphereVolume.volumePath", REQUIRED, ""),
    ("photonPersistentDisk", {}, ".photonPersistentDisk.pdID", REQUIRED, ""),
    ("portworxVolume", {}, ".portworxVolume.volumeID", REQUIRED, ""),
    ("azureDisk", {"diskName": "d"}, ".azureDisk.diskURI", REQUIRED, ""),
    (
        "azureDisk",
        {"diskName": "d", "diskURI": "u", "cachingMode": "Odd"},
        ".azureDisk.cachingMode",
        NOT_SUPPORTED,
        '"None", "Read',
    ),
    (
        "azureDisk",
        {"diskName": "d", "diskURI": "u", "kind": "Odd"},
        ".azureDisk.kind",
        NOT_SUPPORTED,
        '"Dedicated", "Managed"',
    ),
    (
        "azureDisk",
        {"diskName": "d", "diskURI": "u", "kind": "Managed"},
        ".azureDisk.diskURI",
        NOT_SUPPORTED,
        "/subscriptions/",
    ),
    (
        "azureDisk",
        {"diskName": "d", "diskURI": "u"},
        ".azureDisk.diskURI",
        NOT_SUPPORTED,
        "https://{account-name}",
    ),
    ("storageos", {}, ".storageos.volumeName", REQUIRED, ""),
    ("storageos", {"volumeName": "A"}, ".storageos.volumeName", INVALID, LABEL),
    ("storageos", {"volumeName": "a", "volumeNamespace": "A"}, ".storageos.volumeNamespace", INVALID, LABEL),
    ("scaleIO", {}, ".scaleIO.gateway", REQUIRED, ""),
    ("csi", {}, ".csi.driver", REQUIRED, ""),
    ("csi", {"driver": "a" * 64}, ".csi.driver", INVALID, "must be no more than 63 bytes"),
    ("csi", {"driver": "a b"}, ".csi.driver", INVALID, SUBDOMAIN),
    ("csi", {"driver": "a", "nodePublishSecretRef": {}}, ".csi.nodePublishSecretRef.name", REQUIRED, ""),
    (
        "csi",
        {"driver": "a", "nodePublishSecretRef": {"name": "A"}},
        ".csi.nodePublishSecretRef.name",
        INVALID,
        SUBDOMAIN,
    ),
    ("ephemeral", {}, ".ephemeral.volumeClaimTemplate", REQUIRED, ""),
    (
        "ephemeral",
        {"volumeClaimTemplate": {"metadata": {"name": "a"}, "spec": {}}},
        ".ephemeral.volumeClaimTemplate.metadata.name",
        FORBIDDEN,
        "cannot be set for an ephemeral volume",
    ),
    ("image", {}, ".image.reference", REQUIRED, ""),
    (
        "image",
        {"reference": "i", "pullPolicy": "Odd"},
        ".image.pullPolicy",
        NOT_SUPPORTED,
        '"Always", "IfNotPresent", "Never"',
    ),
    (
        "downwardAPI",
        {"items": [{"fieldRef": {"fieldPath": "metadata.uid"}}]},
        ".downwardAPI.path",
        REQUIRED,
        "",
    ),
    (
        "downwardAPI",
        {"items": [{"path": "p"}]},
        ".downwardAPI",
        REQUIRED,
        "one of fieldRef and resourceFieldRef is required",
    ),
    (
        "downwardAPI",
        {"items": [{"path": "p", "resourceFieldRef": {"resource": "limits.cpu"}}]},
        ".downwardAPI.resourceFieldRef.containerName",
        REQUIRED,
        "",
    ),
    (
        "downwardAPI",
        {"items": [{"path": "p", "resourceFieldRef": {}, "fieldRef": {"fieldPath": "metadata.uid"}}]},
        ".downwardAPI",
        INVALID,
        "fieldRef and resourceFieldRef can not be specified simultaneously",
    ),
    *(
        ("projected", {"sources": sources}, f".projected{field}", reason, why)
        for sources, field, reason, why in (
            ([{"secret": {}}], ".sources[0].secret.name", REQUIRED, ""),
            (
                [{"secret": {"name": "s"}, "configMap": {"name": "c"}}],
                ".sources[0]",
                FORBIDDEN,
                "may not specify more than 1 volume type per source",
            ),
            (
                [{"secret": {"name": name, "items": [{"key": "k", "path": "p"}]}} for name in "ab"],
                "",
                INVALID,
                '"b": conflicting duplicate paths',
            ),
            (
                [{"serviceAccountToken": {"path": "p", "expirationSeconds": 599}}],
                ".sources[0].serviceAccountToken.expirationSeconds",
                INVALID,
                "may not specify a duration less than 10 minutes",
            ),
            (
                [{"serviceAccountToken": {"path": "p", "expirationSeconds": 1 << 33}}],
                ".sources[0].serviceAccountToken.expirationSeconds",
                INVALID,
                "may not specify a duration larger than 2^32 seconds",
            ),
            ([{"serviceAccountToken": {}}], ".path", REQUIRED, ""),
            (
                [{"downwardAPI": {"items": [{"path": "p"}]}}],
                ".sources[0].downwardAPI",
                REQUIRED,
                "one of fieldRef and",
            ),
            (
                [{"clusterTrustBundle": {"path": "p"}}],
                ".sources[0].clusterTrustBundle",
                REQUIRED,
                "either name or signerName",
            ),
            (
                [{"clusterTrustBundle": {"path": "p", "name": "a", "signerName": "b"}}],
                ".sources[0].clusterTrustBundle",
                INVALID,
                "only one of name and signerName may be used",
            ),
            (
                [{"clusterTrustBundle": {"name": ""}}],
                ".sources[0].clusterTrustBundle.name",
                REQUIRED,
                "must be a valid object",
            ),
            (
                [{"clusterTrustBundle": {"signerName": ""}}],
                ".sources[0].clusterTrustBundle.signerName",
                REQUIRED,
                "signer name",
            ),
            (
                [{"clusterTrustBundle": {"name": "a", "labelSelector": {}}}],
                ".sources[0].clusterTrustBundle.labelSelector",
                INVALID,
                "labelSelector must be unset if name is specified",
            ),
            ([{"clusterTrustBundle": {"name": "a"}}], ".sources[0].clusterTrustBundle.path", REQUIRED, ""),
            ([{"podCertificate": {}}], ".sources[0].podCertificate.signerName", REQUIRED, ""),
            ([{"podCertificate": {}}], ".sources[0].podCertificate.keyType", REQUIRED, ""),
            (
                [{"podCertificate": {"keyPath": "/k", "signerName": "a.b/c", "keyType": "ED25519"}}],
                ".sources[0].podCertificate.keyPath",
                INVALID,
                "must be a relative path",
            ),
        )
    ),
]


@pytest.mark.parametrize(("kind", "source", "field", "reason", "why"), SOURCES, ids=str)
def test_sources_of_volumes_that_break_a_rule_are_refused(
    kind: str, source: Object, field: str, reason: str, why: str
) -> None:
    check_refused(pod({"name": "v", kind: source}), ({}, f"spec.volumes[0]{field}", reason, why))


VOLUMES: Rows = [
    ({"spec.volumes.0.name": ""}, "spec.volumes[0].name", REQUIRED, ""),
    ({"spec.volumes.0.name": "A"}, "spec.volumes[0].name", INVALID, LABEL),
    ({"spec.volumes.1": {"name": "v", "emptyDir": {}}}, "spec.volumes[1].name", DUPLICATE, '"v"'),
    ({"spec.volumes.0.nfs": {}}, "spec.volumes[0].nfs", FORBIDDEN, "may not specify more than 1 volume type"),
    (
        {"spec.volumes.0.cephfs": {}},
        "spec.volumes[0].cephFS",
        FORBIDDEN,
        "may not specify more than 1 volume type",
    ),
    (
        {
            "spec.volumes.1": {"name": "e", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
            "spec.volumes.2": {"name": "w", "persistentVolumeClaim": {"claimName": "x-e"}},
        },
        "spec.volumes[2].persistentVolumeClaim.claimName",
        INVALID,
        "must not reference a PVC that gets created for an ephemeral volume",
    ),
    (
        {"spec.volumes.1": {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "p"}}]}}},
        "spec.volumes[1].projected.sources[0].serviceAccountToken",
        FORBIDDEN,
        "must not be specified when serviceAccountName is not set",
    ),
]


@pytest.mark.parametrize("row", VOLUMES, ids=str)
def test_volumes_have_a_name_and_one_source(row: Row) -> None:
    check_refused(pod({"name": "v", "emptyDir": {}}), row)


def test_a_volume_without_a_source_is_refused() -> None:
    row: Row = (
        {"spec.volumes.0.emptyDir": ABSENT},
        "spec.volumes[0]",
        REQUIRED,
        "must specify a volume type",
    )
    check_refused_undefaulted(pod({"name": "v"}), row)


def claim(**spec: Any) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return make("v1", "PersistentVolumeClaim", spec=spec)


SOURCE = {"kind": "PersistentVolumeClaim", "name": "a"}
CLAIMS: Rows = [
    ({"spec.accessModes": []}, "spec.accessModes", REQUIRED, "at least 1 access mode is required"),
    (
        {"spec.accessModes": ["Odd"]},
        "spec.accessModes",
        NOT_SUPPORTED,
        '"ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"',
    ),
    (
        {"spec.accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
        "spec.accessModes",
        FORBIDDEN,
        "may not use ReadWriteOncePod with other access modes",
    ),
    ({"spec.resources": {}}, "spec.resources[storage]", REQUIRED, ""),
    ({"spec.resources.requests.storage": "0"}, "spec.resources[storage]", INVALID, POSITIVE),
    ({"spec.storageClassName": "A"}, "spec.storageClassName", INVALID, SUBDOMAIN),
    ({"spec.volumeAttributesClassName": "A"}, "spec.volumeAttributesClassName", INVALID, SUBDOMAIN),
    ({"spec.volumeMode": "Odd"}, "spec.volumeMode", NOT_SUPPORTED, '"Block", "Filesystem"'),
    ({"spec.dataSource": {"kind": "PersistentVolumeClaim"}}, "spec.dataSource.name", REQUIRED, ""),
    (
        {"spec.dataSource": SOURCE, "spec.dataSourceRef": {**SOURCE, "name": "b"}},
        "spec",
        INVALID,
        "must match dataSourceRef",
    ),
]


@pytest.mark.parametrize("row", CLAIMS, ids=str)
def test_claims_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(claim(), row)


def test_a_claims_spec_stays_but_for_its_size_when_bound() -> None:
    check_update_refused(
        claim(),
        ({"spec.accessModes": ["ReadOnlyMany"]}, "spec", FORBIDDEN, "spec is immutable after creation"),
    )
    check_update_refused(claim(), ({"spec.volumeMode": "Block"}, "volumeMode", INVALID, IMMUTABLE))
    check_update_accepted(claim(), {"spec.volumeName": "v", "spec.storageClassName": "s"})
    check_update_accepted(claim(), {"status.phase": "Bound", "spec.resources.requests.storage": "2Gi"})
    smaller: Row = (
        {"status.phase": "Bound", "spec.resources.requests.storage": "0"},
        "spec.resources.requests.storage",
        FORBIDDEN,
        "field can not be less than status.capacity",
    )
    check_update_refused(claim(), smaller)


def volume(**spec: Any) -> Object:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "hostPath": {"path": "/a"},
        **spec,
    }
    return make("v1", "PersistentVolume", namespace="", spec=spec)


NO_SOURCE: Edits = {"spec.hostPath": ABSENT}
PERSISTENT: Rows = [
    ({"spec.accessModes": []}, "spec.accessModes", REQUIRED, ""),
    ({"spec.capacity": {}}, "spec.capacity", REQUIRED, ""),
    ({"spec.capacity": {"cpu": "1"}}, "spec.capacity", NOT_SUPPORTED, 'supported values: "storage"'),
    ({"spec.capacity": {"storage": "0"}}, "spec.capacity[storage]", INVALID, POSITIVE),
    (
        {"spec.persistentVolumeReclaimPolicy": "Odd"},
        "spec.persistentVolumeReclaimPolicy",
        NOT_SUPPORTED,
        '"Delete", "Recycle"',
    ),
    (
        {"spec.nodeAffinity": {}},
        "spec.nodeAffinity.required",
        REQUIRED,
        "must specify required node constraints",
    ),
    (
        {"spec.nodeAffinity.required": {}},
        "spec.nodeAffinity.required.nodeSelectorTerms",
        REQUIRED,
        "at least one node",
    ),
    ({"spec.storageClassName": "A"}, "spec.storageClassName", INVALID, SUBDOMAIN),
    ({"spec.volumeMode": "Odd"}, "spec.volumeMode", NOT_SUPPORTED, '"Block", "Filesystem"'),
    (NO_SOURCE, "spec", REQUIRED, "must specify a volume type"),
    ({"spec.nfs": {}}, "spec.nfs", FORBIDDEN, "may not specify more than 1 volume type"),
    ({**NO_SOURCE, "spec.local": {}}, "spec.local.path", REQUIRED, ""),
    (
        {**NO_SOURCE, "spec.local": {"path": "/a"}},
        "spec.nodeAffinity",
        REQUIRED,
        "Local volume requires node affinity",
    ),
    (
        {"spec.hostPath.path": "/", "spec.persistentVolumeReclaimPolicy": "Recycle"},
        "spec.persistentVolumeReclaimPolicy",
        FORBIDDEN,
        "may not be 'recycle' for a hostPath mount of '/'",
    ),
    (
        {"spec.volumeAttributesClassName": ""},
        "spec.volumeAttributesClassName",
        REQUIRED,
        "an empty string is disallowed",
    ),
    (
        {"spec.volumeAttributesClassName": "a"},
        "spec.csi",
        REQUIRED,
        "has to be specified when using volumeAttributesClass",
    ),
    ({**NO_SOURCE, "spec.csi": {"driver": "d"}}, "spec.csi.volumeHandle", REQUIRED, ""),
    (
        {**NO_SOURCE, "spec.csi": {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "s"}}},
        "spec.csi.nodeStageSecretRef.namespace",
        REQUIRED,
        "",
    ),
    (
        {**NO_SOURCE, "spec.cinder": {"volumeID": "v", "secretRef": {"name": "s"}}},
        "spec.cinder.secretRef.namespace",
        REQUIRED,
        "",
    ),
    (
        {**NO_SOURCE, "spec.glusterfs.endpointsNamespace": ""},
        "spec.glusterfs.endpointsNamespace",
        INVALID,
        "valid namespace",
    ),
    (
        {**NO_SOURCE, "spec.glusterfs.endpointsNamespace": "A"},
        "spec.glusterfs.endpointsNamespace",
        INVALID,
        LABEL,
    ),
    ({**NO_SOURCE, "spec.azureFile.secretNamespace": ""}, "spec.azureFile.secretNamespace", REQUIRED, ""),
]


@pytest.mark.parametrize("row", PERSISTENT, ids=str)
def test_persistent_volumes_that_break_a_rule_are_refused(row: Row) -> None:
    check_refused(volume(), row)


AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}
VOLUME_UPDATES: Rows = [
    (
        {"spec.hostPath.path": "/b"},
        "spec.persistentvolumesource",
        FORBIDDEN,
        "spec.persistentvolumesource is immutable after creation",
    ),
    ({"spec.volumeMode": "Block"}, "volumeMode", INVALID, IMMUTABLE),
    (
        {"spec.nodeAffinity": ABSENT},
        "spec.nodeAffinity",
        INVALID,
        "field is immutable, except for updating from beta label",
    ),
]


@pytest.mark.parametrize("row", VOLUME_UPDATES, ids=str)
def test_where_a_persistent_volume_lies_does_not_change(row: Row) -> None:
    check_update_refused(volume(nodeAffinity=AFFINITY), row)


STORAGE = "storage.k8s.io/v1"


def of(kind: str, namespace: str = "", **fields: Any) -> Object:
    return make(STORAGE, kind, namespace=namespace, **fields)


CLASS = of("StorageClass", provisioner="a.b/c", parameters={"k": "v"})
DRIVER = of("CSIDriver", spec={})
NODE = of("CSINode", spec={"drivers": [{"name": "a.b", "nodeID": "n", "topologyKeys": ["a.b/zone"]}]})
CAPACITY = of(
    "CSIStorageCapacity", "n", storageClassName="s", nodeTopology={"matchLabels": {"a": "b"}}, capacity="1Gi"
)
ATTACHMENT = of(
    "VolumeAttachment", spec={"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "p"}}
)
ATTRIBUTES = of("VolumeAttributesClass", driverName="a.b", parameters={"iops": "1"})
EXACTLY = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"


@pytest.mark.parametrize(
    "obj", [CLASS, DRIVER, NODE, CAPACITY, ATTACHMENT, ATTRIBUTES, claim(), volume()], ids=str
)
def test_sound_storage_is_accepted(obj: Object) -> None:
    check_accepted(obj)


GROUP: list[tuple[Object, Row]] = [
    (CLASS, ({"provisioner": ""}, "provisioner", REQUIRED, "")),
    (CLASS, ({"provisioner": "a b"}, "provisioner", INVALID, "name part must consist of")),
    (CLASS, ({"parameters": {"": "v"}}, "parameters", INVALID, "field can not be empty.")),
    (
        CLASS,
        (
            {"parameters": {str(n): "" for n in range(513)}},
            "parameters",
            TOO_LONG,
            "may not be more than 512 bytes",
        ),
    ),
    (
        CLASS,
        ({"parameters": {"a": "v" * 262144}}, "parameters", TOO_LONG, "may not be more than 262144 bytes"),
    ),
    (CLASS, ({"reclaimPolicy": "Recycle"}, "reclaimPolicy", NOT_SUPPORTED, '"Delete", "Retain"')),
    (
        CLASS,
        (
            {"volumeBindingMode": "Odd"},
            "volumeBindingMode",
            NOT_SUPPORTED,
            '"Immediate", "WaitForFirstConsumer"',
        ),
    ),
    (
        DRIVER,
        (
            {"spec.fsGroupPolicy": "Odd"},
            "spec.fsGroupPolicy",
            NOT_SUPPORTED,
            '"File", "None", "ReadWriteOnceWithFSType"',
        ),
    ),
    (
        DRIVER,
        (
            {"spec.volumeLifecycleModes": ["Odd"]},
            "spec.volumeLifecycleModes",
            NOT_SUPPORTED,
            '"Persistent", "Ephemeral"',
        ),
    ),
    (
        DRIVER,
        ({"spec.tokenRequests": [{"audience": "a"}] * 2}, "spec.tokenRequests[1].audience", DUPLICATE, '"a"'),
    ),
    *(
        (
            DRIVER,
            (
                {"spec.tokenRequests.0.expirationSeconds": n},
                "spec.tokenRequests[0].expirationSeconds",
                INVALID,
                why,
            ),
        )
        for n, why in ((599, "less than 10 minutes"), (1 << 33, "larger than 2^32 seconds"))
    ),
    (
        DRIVER,
        (
            {"spec.nodeAllocatableUpdatePeriodSeconds": 9},
            "spec.nodeAllocatableUpdatePeriodSeconds",
            INVALID,
            "must be greater than or equal to 10 seconds",
        ),
    ),
    (NODE, ({"spec.drivers.0.name": ""}, "spec.drivers[0].name", REQUIRED, "")),
    (NODE, ({"spec.drivers.0.nodeID": ""}, "spec.drivers[0].nodeID", REQUIRED, "")),
    (
        NODE,
        (
            {"spec.drivers.0.nodeID": "n" * 257},
            "spec.drivers[0].nodeID",
            INVALID,
            "must be 256 characters or less",
        ),
    ),
    (
        NODE,
        ({"spec.drivers.0.allocatable.count": -1}, "spec.drivers[0].allocatable.count", INVALID, NONNEGATIVE),
    ),
    (NODE, ({"spec.drivers.1": {"name": "a.b", "nodeID": "n"}}, "spec.drivers[1].name", DUPLICATE, '"a.b"')),
    (NODE, ({"spec.drivers.0.topologyKeys": [""]}, "spec.drivers[0]", REQUIRED, "")),
    (NODE, ({"spec.drivers.0.topologyKeys": ["a", "a"]}, "spec.drivers[0]", DUPLICATE, '"a"')),
    (
        NODE,
        ({"spec.drivers.0.topologyKeys": ["a b"]}, "spec.drivers[0]", INVALID, "name part must consist of"),
    ),
    (CAPACITY, ({"storageClassName": ""}, "storageClassName", INVALID, SUBDOMAIN)),
    (CAPACITY, ({"capacity": "-1"}, "capacity", INVALID, NONNEGATIVE)),
    (
        CAPACITY,
        ({"nodeTopology.matchLabels": {"a b": "c"}}, "nodeTopology.matchLabels", INVALID, "name part must"),
    ),
    (ATTACHMENT, ({"spec.attacher": ""}, "spec.attacher", REQUIRED, "")),
    (ATTACHMENT, ({"spec.source": {}}, "spec.source", REQUIRED, EXACTLY)),
    (ATTACHMENT, ({"spec.source.inlineVolumeSpec": {}}, "spec.source", FORBIDDEN, EXACTLY)),
    (ATTACHMENT, ({"spec.nodeName": ""}, "spec.nodeName", INVALID, SUBDOMAIN)),
    (
        ATTACHMENT,
        ({"spec.source.persistentVolumeName": "A"}, "spec.source.persistentVolumeName", INVALID, SUBDOMAIN),
    ),
    (ATTRIBUTES, ({"driverName": ""}, "driverName", REQUIRED, "")),
    (ATTRIBUTES, ({"driverName": "a b"}, "driverName", INVALID, "name part must consist of")),
    (ATTRIBUTES, ({"parameters": {}}, "parameters", REQUIRED, "must contain at least one key/value pair")),
]


@pytest.mark.parametrize(("obj", "row"), GROUP, ids=str)
def test_storage_that_breaks_a_rule_is_refused(obj: Object, row: Row) -> None:
    check_refused(obj, row)


@pytest.mark.parametrize("field", ["attachRequired", "podInfoOnMount", "storageCapacity"])
def test_a_driver_says_what_it_needs(field: str) -> None:
    shown = "attachedRequired" if field == "attachRequired" else field
    check_refused_undefaulted(DRIVER, ({f"spec.{field}": ABSENT}, f"spec.{shown}", REQUIRED, ""))


GROUP_UPDATES: list[tuple[Object, Row]] = [
    *(
        (CLASS, ({field: value}, field, FORBIDDEN, f"updates to {field} are forbidden."))
        for field, value in (("parameters", {}), ("provisioner", "d.e"), ("reclaimPolicy", "Retain"))
    ),
    (CLASS, ({"volumeBindingMode": "WaitForFirstConsumer"}, "volumeBindingMode", INVALID, IMMUTABLE)),
    (DRIVER, ({"spec.attachRequired": False}, "spec.attachedRequired", INVALID, IMMUTABLE)),
    (DRIVER, ({"spec.volumeLifecycleModes": ["Ephemeral"]}, "spec.volumeLifecycleModes", INVALID, IMMUTABLE)),
    (NODE, ({"spec.drivers.0.nodeID": "m"}, "spec.drivers", INVALID, IMMUTABLE)),
    (CAPACITY, ({"storageClassName": "t"}, "storageClassName", INVALID, IMMUTABLE)),
    (CAPACITY, ({"nodeTopology": {}}, "nodeTopology", INVALID, IMMUTABLE)),
    (ATTACHMENT, ({"spec.nodeName": "m"}, "spec", INVALID, IMMUTABLE)),
    (ATTRIBUTES, ({"driverName": "d.e"}, "driverName", FORBIDDEN, "updates to driverName are forbidden.")),
    (
        ATTRIBUTES,
        ({"parameters": {"iops": "2"}}, "parameters", FORBIDDEN, "updates to parameters are forbidden."),
    ),
]


@pytest.mark.parametrize(("obj", "row"), GROUP_UPDATES, ids=str)
def test_what_makes_storage_does_not_change(obj: Object, row: Row) -> None:
    check_update_refused(obj, row)


def test_how_many_volumes_fit_on_a_node_may_change() -> None:
    check_update_accepted(NODE, {"spec.drivers.0.allocatable": {"count": 3}})
