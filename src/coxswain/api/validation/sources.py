"""Sources of storage that pods and persistent volumes share: each a small check by name in ``SOURCES``.

``PERSISTENT`` has those whose persistent form asks for more (a secret's namespace, a driver's handle).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from coxswain.api.fields import Errors, invalid, not_supported, required
from coxswain.api.names import Object
from coxswain.api.validation.formats import dns_label, dns_subdomain, no_backsteps, report

SourceCheck = Callable[[Object, str, Errors], None]

_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_LUN_RANGE = "must be between 0 and 255, inclusive"
_IQN = {
    "iqn": re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9\-.]+)(:[^,;*&$|\s]+)$"),
    "eui": re.compile(r"^eui.[A-Za-z0-9]{16}$"),
    "naa": re.compile(r"^naa.[A-Za-z0-9]{32}$"),
}


def _needs(*fields: str) -> SourceCheck:
    """A source whose only rule is that ``fields`` are there."""

    def validate(source: Object, path: str, errors: Errors) -> None:
        for field in fields:
            if not source.get(field):
                errors.append(required(f"{path}.{field}"))

    return validate


def _host_path(source: Object, path: str, errors: Errors) -> None:
    target = source.get("path") or ""
    if not target:
        errors.append(required(f"{path}.path"))
        return
    no_backsteps(f"{path}.path", target, errors)
    kind = source.get("type")
    if kind is not None and kind not in _HOST_PATH_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _HOST_PATH_TYPES))


def _disk(id_field: str) -> SourceCheck:
    """A cloud disk by id, with a partition."""

    def validate(source: Object, path: str, errors: Errors) -> None:
        if not source.get(id_field):
            errors.append(required(f"{path}.{id_field}"))
        partition = source.get("partition") or 0
        if not 0 <= partition <= 255:
            why = "must be between 1 and 255, inclusive"
            errors.append(invalid(f"{path}.partition", partition, why))

    return validate


def _nfs(source: Object, path: str, errors: Errors) -> None:
    _needs("server", "path")(source, path, errors)
    target = source.get("path") or ""
    if not target.startswith("/"):
        errors.append(invalid(f"{path}.path", target, "must be an absolute path"))


def _iscsi(source: Object, path: str, errors: Errors) -> None:
    _needs("targetPortal", "iqn")(source, path, errors)
    if source.get("iqn"):
        _iqn(source["iqn"], f"{path}.iqn", errors)
    lun = source.get("lun") or 0
    if not 0 <= lun <= 255:
        errors.append(invalid(f"{path}.lun", lun, _LUN_RANGE))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and source.get("secretRef") is None:
        errors.append(required(f"{path}.secretRef"))
    if source.get("initiatorName") is not None:
        _iqn(source["initiatorName"], f"{path}.initiatorname", errors)


def _iqn(name: str, path: str, errors: Errors) -> None:
    pattern = _IQN.get(name[:3])
    if pattern is None:
        errors.append(invalid(path, name, "must be valid format starting with iqn, eui, or naa"))
    elif not pattern.search(name):
        errors.append(invalid(path, name, "must be valid format"))


def _glusterfs(source: Object, path: str, errors: Errors) -> None:
    _needs("endpoints", "path")(source, path, errors)
    space = source.get("endpointsNamespace")
    if space == "":
        why = "if the endpointnamespace is set, it must be a valid namespace name"
        errors.append(invalid(f"{path}.endpointsNamespace", space, why))
    elif space is not None:
        report(dns_label(space), f"{path}.endpointsNamespace", space, errors)


def _flocker(source: Object, path: str, errors: Errors) -> None:
    name, uuid = source.get("datasetName") or "", source.get("datasetUUID") or ""
    if not name and not uuid:
        errors.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        why = "datasetName and datasetUUID can not be specified simultaneously"
        errors.append(invalid(path, "resource", why))
    if "/" in name:
        errors.append(invalid(f"{path}.datasetName", name, "must not contain '/'"))


def _secret_ref(source: Object, path: str, errors: Errors, *fields: str) -> None:
    reference = source.get("secretRef")
    if reference is not None:
        _needs(*fields)(reference, f"{path}.secretRef", errors)


def _cinder(source: Object, path: str, errors: Errors) -> None:
    _needs("volumeID")(source, path, errors)
    _secret_ref(source, path, errors, "name")


def _persistent_cinder(source: Object, path: str, errors: Errors) -> None:
    _needs("volumeID")(source, path, errors)
    _secret_ref(source, path, errors, "name", "namespace")


def _quobyte(source: Object, path: str, errors: Errors) -> None:
    registry = source.get("registry") or ""
    why = "must be a host:port pair or multiple pairs separated by commas"
    if not registry:
        errors.append(required(f"{path}.registry", why))
    elif len(source.get("tenant") or "") >= 65:
        detail = "must be a UUID and may not exceed a length of 64 characters"
        errors.append(required(f"{path}.tenant", detail))
    else:
        for pair in registry.split(","):
            if not re.fullmatch(r"(\[[^\]]*\]|[^:]*):[^:]*", pair):
                errors.append(invalid(f"{path}.registry", registry, why))
    if not source.get("volume"):
        errors.append(required(f"{path}.volume"))


def _fc(source: Object, path: str, errors: Errors) -> None:
    names, ids = source.get("targetWWNs") or [], source.get("wwids") or []
    if not names and not ids:
        why = "must specify either targetWWNs or wwids, but not both"
        errors.append(required(f"{path}.targetWWNs", why))
    if names and ids:
        why = "targetWWNs and wwids can not be specified simultaneously"
        errors.append(invalid(f"{path}.targetWWNs", names, why))
    if names:
        lun = source.get("lun")
        if lun is None:
            errors.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= lun <= 255:
            errors.append(invalid(f"{path}.lun", lun, _LUN_RANGE))


def _flex_volume(source: Object, path: str, errors: Errors) -> None:
    _needs("driver")(source, path, errors)
    for option in source.get("options") or ():
        space = "." + option.split("/", 1)[0].lower()
        if space.endswith((".kubernetes.io", ".k8s.io")):
            why = "kubernetes.io and k8s.io namespaces are reserved"
            errors.append(invalid(f"{path}.options[{option}]", option, why))


def _azure_file(source: Object, path: str, errors: Errors) -> None:
    _needs("secretName", "shareName")(source, path, errors)
    if source.get("secretNamespace") == "":
        errors.append(required(f"{path}.secretNamespace"))


def _azure_disk(source: Object, path: str, errors: Errors) -> None:
    _needs("diskName", "diskURI")(source, path, errors)
    caching, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI") or ""
    modes, kinds = ("None", "ReadOnly", "ReadWrite"), ("Dedicated", "Managed", "Shared")
    if caching is not None and caching not in modes:
        errors.append(not_supported(f"{path}.cachingMode", caching, modes))
    if kind is not None and kind not in kinds:
        errors.append(not_supported(f"{path}.kind", kind, kinds))
    if kind == "Managed" and not uri.startswith("/subscriptions/"):
        form = (
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
        )
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))
    if kind is not None and kind != "Managed" and not uri.startswith("https://"):
        form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
        errors.append(not_supported(f"{path}.diskURI", uri, (form,)))


def _storageos(source: Object, path: str, errors: Errors) -> None:
    name = source.get("volumeName") or ""
    if not name:
        errors.append(required(f"{path}.volumeName"))
    else:
        report(dns_label(name), f"{path}.volumeName", name, errors)
    if source.get("volumeNamespace"):
        space = source["volumeNamespace"]
        report(dns_label(space), f"{path}.volumeNamespace", space, errors)
    _secret_ref(source, path, errors, "name")


def csi_driver_name(name: str, path: str, errors: Errors) -> None:
    """The name of a CSI driver: a lower-cased subdomain of at most 63 bytes."""
    if not name:
        errors.append(required(path))
        return
    if len(name) > 63:
        errors.append(invalid(path, name, "must be no more than 63 bytes"))
    report(dns_subdomain(name.lower()), path, name, errors)


def _csi(source: Object, path: str, errors: Errors) -> None:
    csi_driver_name(source.get("driver") or "", f"{path}.driver", errors)
    reference = source.get("nodePublishSecretRef")
    if reference is not None:
        if not reference.get("name"):
            errors.append(required(f"{path}.nodePublishSecretRef.name"))
        else:
            name = reference["name"]
            report(dns_subdomain(name), f"{path}.nodePublishSecretRef.name", name, errors)


def _persistent_csi(source: Object, path: str, errors: Errors) -> None:
    csi_driver_name(source.get("driver") or "", f"{path}.driver", errors)
    _needs("volumeHandle")(source, path, errors)
    for field in (
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeStageSecretRef",
    ):
        if source.get(field) is not None:
            _needs("name", "namespace")(source[field], f"{path}.{field}", errors)


def _local(source: Object, path: str, errors: Errors) -> None:
    target = source.get("path") or ""
    if not target:
        errors.append(required(f"{path}.path"))
        return
    no_backsteps(f"{path}.path", target, errors)


SOURCES: dict[str, SourceCheck] = {
    "hostPath": _host_path,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _glusterfs,
    "persistentVolumeClaim": _needs("claimName"),
    "flocker": _flocker,
    "rbd": _needs("monitors", "image"),
    "cinder": _cinder,
    "cephfs": _needs("monitors"),
    "quobyte": _quobyte,
    "fc": _fc,
    "flexVolume": _flex_volume,
    "azureFile": _azure_file,
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": _storageos,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
}
PERSISTENT: dict[str, SourceCheck] = {
    **SOURCES,
    "cinder": _persistent_cinder,
    "csi": _persistent_csi,
    "local": _local,
}
