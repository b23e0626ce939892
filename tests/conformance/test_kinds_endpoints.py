"""Kinds of network, nodes, storage and devices are handled by their endpoints as conformance asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from conformance.api_operations import check_api_operations
from conformance.api_server import api_server
from coxswain.api.names import (
    CONFIGMAPS,
    ENDPOINT_SLICES,
    GVR,
    IP_ADDRESSES,
    LEASES,
    SECRETS,
    SERVICE_CIDRS,
    Object,
)

NETWORK, STORAGE, DEVICES = "networking.k8s.io", "storage.k8s.io", "resource.k8s.io"
INGRESSES = GVR(NETWORK, "v1", "ingresses")
INGRESS_CLASSES = GVR(NETWORK, "v1", "ingressclasses")
RUNTIME_CLASSES = GVR("node.k8s.io", "v1", "runtimeclasses")
POD_TEMPLATES = GVR("", "v1", "podtemplates")
ATTACHMENTS = GVR(STORAGE, "v1", "volumeattachments")
NUMBERS = iter(range(1, 1000))


def made(**fields: Any) -> Callable[[str], Object]:
    """Makes objects with these fields."""
    return lambda name: {"metadata": {"name": name}, **fields}


def ip_address(name: str) -> Object:
    parent = {"group": "", "resource": "services", "namespace": "work", "name": "none"}
    return {"metadata": {"name": f"192.168.1.{next(NUMBERS)}"}, "spec": {"parentRef": parent}}


def service_cidr(name: str) -> Object:
    return {"metadata": {"name": name}, "spec": {"cidrs": [f"192.168.{next(NUMBERS)}.0/24"]}}


INGRESS = {
    "defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}},
    "rules": [
        {
            "host": "foo.bar.com",
            "http": {
                "paths": [
                    {
                        "path": "/",
                        "pathType": "ImplementationSpecific",
                        "backend": {"service": {"name": "svc", "port": {"number": 8000}}},
                    }
                ]
            },
        }
    ],
}
REQUEST = {"devices": {"requests": [{"name": "req-0", "exactly": {"deviceClassName": "my-class"}}]}}
POOL = {"name": "pool", "generation": 1, "resourceSliceCount": 1}
KINDS = [
    pytest.param(
        ENDPOINT_SLICES,
        made(addressType="IPv4", endpoints=[{"addresses": ["1.2.3.4", "5.6.7.8"]}]),
        "EndpointSlice",
        id="EndpointSlice",
        marks=pytest.mark.conformance(
            "[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]"
        ),
    ),
    pytest.param(
        INGRESSES,
        made(spec=INGRESS),
        "Ingress",
        id="Ingress",
        marks=pytest.mark.conformance(
            "[sig-network] Ingress API should support creating Ingress API operations [Conformance]"
        ),
    ),
    pytest.param(
        INGRESS_CLASSES,
        made(spec={"controller": "example.com/controller"}),
        "IngressClass",
        id="IngressClass",
        marks=pytest.mark.conformance(
            "[sig-network] IngressClass API should support creating IngressClass API operations [Conformance]"
        ),
    ),
    pytest.param(
        IP_ADDRESSES,
        ip_address,
        "IPAddress",
        id="IPAddress",
        marks=pytest.mark.conformance(
            "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]"
        ),
    ),
    pytest.param(
        SERVICE_CIDRS,
        service_cidr,
        "ServiceCIDR",
        id="ServiceCIDR",
        marks=pytest.mark.conformance(
            "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]"
        ),
    ),
    pytest.param(
        RUNTIME_CLASSES,
        made(handler="e2e-handler"),
        "RuntimeClass",
        id="RuntimeClass",
        marks=pytest.mark.conformance(
            "[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]"
        ),
    ),
    pytest.param(
        GVR(DEVICES, "v1", "deviceclasses"),
        made(spec={"selectors": [{"cel": {"expression": "device.driver == 'x'"}}]}),
        "DeviceClass",
        id="DeviceClass",
        marks=pytest.mark.conformance(
            "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]"
        ),
    ),
    pytest.param(
        GVR(DEVICES, "v1", "resourceclaims"),
        made(spec=REQUEST),
        "ResourceClaim",
        id="ResourceClaim",
        marks=pytest.mark.conformance(
            "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]"
        ),
    ),
    pytest.param(
        GVR(DEVICES, "v1", "resourceclaimtemplates"),
        made(spec={"spec": REQUEST}),
        "ResourceClaimTemplate",
        id="ResourceClaimTemplate",
        marks=pytest.mark.conformance(
            "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]"
        ),
    ),
    pytest.param(
        GVR(DEVICES, "v1", "resourceslices"),
        made(
            spec={"driver": "dra.example.com", "nodeName": "node", "pool": POOL, "devices": [{"name": "d"}]}
        ),
        "ResourceSlice",
        id="ResourceSlice",
        marks=pytest.mark.conformance(
            "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]"
        ),
    ),
    pytest.param(
        GVR(STORAGE, "v1", "csidrivers"),
        made(spec={"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}),
        "CSIDriver",
        id="CSIDriver",
        marks=pytest.mark.conformance(
            "[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]"
        ),
    ),
    pytest.param(
        GVR(STORAGE, "v1", "csinodes"),
        made(spec={"drivers": []}),
        "CSINode",
        id="CSINode",
        marks=pytest.mark.conformance(
            "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"
        ),
    ),
    pytest.param(
        GVR(STORAGE, "v1", "csistoragecapacities"),
        made(storageClassName="example", capacity="1Gi"),
        "CSIStorageCapacity",
        id="CSIStorageCapacity",
        marks=pytest.mark.conformance(
            "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"
        ),
    ),
    pytest.param(
        GVR(STORAGE, "v1", "storageclasses"),
        made(provisioner="e2e-fake-provisioner", reclaimPolicy="Retain", volumeBindingMode="Immediate"),
        "StorageClass",
        id="StorageClass",
        marks=pytest.mark.conformance(
            "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
        ),
    ),
    pytest.param(
        GVR(STORAGE, "v1", "volumeattributesclasses"),
        made(driverName="e2e-fake-driver", parameters={"foo": "bar"}),
        "VolumeAttributesClass",
        id="VolumeAttributesClass",
        marks=pytest.mark.conformance(
            "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a "
            "VolumeAttributesClass [Conformance]"
        ),
    ),
    pytest.param(
        ATTACHMENTS,
        made(spec={"attacher": "e2e-attacher", "nodeName": "node", "source": {"persistentVolumeName": "pv"}}),
        "VolumeAttachment",
        id="VolumeAttachment",
        marks=pytest.mark.conformance(
            "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
        ),
    ),
    pytest.param(
        LEASES,
        made(spec={"holderIdentity": "me", "leaseDurationSeconds": 30}),
        "Lease",
        id="Lease",
        marks=pytest.mark.conformance("[sig-node] Lease lease API should be available [Conformance]"),
    ),
    pytest.param(
        POD_TEMPLATES,
        made(template={"spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}),
        "PodTemplate",
        id="PodTemplate",
        marks=pytest.mark.conformance(
            "[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]"
        ),
    ),
    pytest.param(
        POD_TEMPLATES,
        made(template={"spec": {"containers": [{"name": "nginx", "image": "nginx"}]}}),
        "PodTemplate",
        id="PodTemplate",
        marks=pytest.mark.conformance(
            "[sig-node] PodTemplates should delete a collection of pod templates [Conformance]"
        ),
    ),
    pytest.param(
        CONFIGMAPS,
        made(data={"a": "b"}),
        "ConfigMap",
        id="ConfigMap",
        marks=pytest.mark.conformance(
            "[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]"
        ),
    ),
    pytest.param(
        SECRETS,
        made(stringData={"a": "b"}),
        "Secret",
        id="Secret",
        marks=pytest.mark.conformance("[sig-node] Secrets should patch a secret [Conformance]"),
    ),
]


@pytest.mark.virtual
@pytest.mark.parametrize(("resource", "make", "kind"), KINDS)
async def test_a_kind_is_handled_by_its_endpoints(
    resource: GVR, make: Callable[[str], Object], kind: str
) -> None:
    async with api_server() as it:
        await check_api_operations(it, resource, make, kind)
