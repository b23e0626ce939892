"""Every controller, one line each: the only module that names them all.

To add one: write its room with a ``DESCRIPTOR`` and add its line here. A room is imported when its
controller is switched on.
"""

from __future__ import annotations

from importlib import import_module

from coxswain.base.errors import ConfigurationError
from coxswain.controllers.descriptor import Descriptor

#: kube-controller-manager's name -> the module that holds the ``DESCRIPTOR``.
_ROOMS: dict[str, str] = {
    "serviceaccount-controller": "serviceaccount",
    "root-ca-certificate-publisher-controller": "rootca",
    "namespace-controller": "namespace",
    "replicaset-controller": "replicaset.controller",
    "replicationcontroller-controller": "replicationcontroller.controller",
    "statefulset-controller": "statefulset.controller",
    "daemonset-controller": "daemonset.controller",
    "deployment-controller": "deployment.controller",
    "endpoints-controller": "endpoints.controller",
    "endpointslice-controller": "endpointslice.controller",
    "endpointslice-mirroring-controller": "endpointslicemirroring.controller",
    "garbage-collector-controller": "garbagecollector.controller",
    "node-ipam-controller": "nodeipam.controller",
    "node-lifecycle-controller": "nodelifecycle.controller",
    "taint-eviction-controller": "nodelifecycle.eviction",
    "pod-garbage-collector-controller": "podgc",
    "job-controller": "job.controller",
    "cronjob-controller": "cronjob.controller",
    "ttl-after-finished-controller": "ttlafterfinished",
    "disruption-controller": "disruption.controller",
    "persistentvolumeclaim-protection-controller": "storageprotection.claims",
    "persistentvolume-protection-controller": "storageprotection.volumes",
    "persistentvolume-binder-controller": "pvbinder.controller",
    "ephemeral-volume-controller": "ephemeral.controller",
    "local-path-provisioner-controller": "localpath.controller",
    "persistentvolume-attach-detach-controller": "attachdetach.controller",
    "persistentvolume-expander-controller": "expand.controller",
    "volumeattributesclass-protection-controller": "storageprotection.attributesclasses",
    "resourcequota-controller": "resourcequota.controller",
    "clusterrole-aggregation-controller": "clusterroleaggregation",
    "horizontal-pod-autoscaler-controller": "podautoscaler.controller",
    "certificatesigningrequest-signing-controller": "certificates.signing",
    "certificatesigningrequest-approving-controller": "certificates.approving",
    "certificatesigningrequest-cleaner-controller": "certificates.cleaner",
    "ttl-controller": "ttl",
    "serviceaccount-token-controller": "accounttokens.controller",
    "legacy-serviceaccount-token-cleaner-controller": "accounttokens.cleaner",
    "bootstrap-signer-controller": "bootstraptokens.signer",
    "token-cleaner-controller": "bootstraptokens.cleaner",
    "service-cidr-controller": "servicecidr.controller",
    "validatingadmissionpolicy-status-controller": "policystatus.controller",
}
#: Known, but run only when named.
_OFF_BY_DEFAULT: frozenset[str] = frozenset({"bootstrap-signer-controller", "token-cleaner-controller"})


def names() -> tuple[str, ...]:
    """All known controllers."""
    return tuple(_ROOMS)


def select(selection: str) -> tuple[str, ...]:
    """The controllers that ``--controllers`` asks for, in order of start.

    ``*`` means all that are on by default, ``foo`` switches one on, ``-foo`` off (the later rule of
    kube-controller-manager: naming wins over ``*``). The ending ``-controller`` may be left out. Raises
    ``ConfigurationError`` for a name that is not known.
    """
    wanted: set[str] = set()
    unwanted: set[str] = set()
    everything = False
    for part in filter(None, (part.strip() for part in selection.split(","))):
        if part == "*":
            everything = True
        elif part.startswith("-"):
            unwanted.add(_known(part[1:]))
        else:
            wanted.add(_known(part))
    both = wanted & unwanted
    if both:
        raise ConfigurationError(f"--controllers both names and excludes {', '.join(sorted(both))}")
    return tuple(
        name
        for name in _ROOMS
        if name in wanted or (everything and name not in unwanted and name not in _OFF_BY_DEFAULT)
    )


def descriptor(name: str) -> Descriptor:
    """The descriptor of a known controller."""
    module = import_module(f"coxswain.controllers.{_ROOMS[name]}")
    found: Descriptor = module.DESCRIPTOR
    return found


def _known(name: str) -> str:
    for candidate in (name, f"{name}-controller"):
        if candidate in _ROOMS:
            return candidate
    raise ConfigurationError(
        f'"{name}" is not in the list of known controllers; there are: {", ".join(sorted(_ROOMS))}'
    )
