"""The chain that a server has by default: Kubernetes' default plugins, in Kubernetes' order.

NodeRestriction is on, as kubeadm switches it on. What asks outside (webhooks) or writes (quotas' use) needs the
``registry``; without one, as in tests of single plugins, those are absent or only check.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from coxswain.apiserver.admission.certificates import (
    CertificateApproval,
    CertificateRequester,
    CertificateSigning,
    CertificateSubjectRestriction,
)
from coxswain.apiserver.admission.chain import Chain
from coxswain.apiserver.admission.configuration import AdmissionConfiguration, load
from coxswain.apiserver.admission.defaults import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
)
from coxswain.apiserver.admission.escalation import RbacEscalation
from coxswain.apiserver.admission.limit_ranger import LimitRanger
from coxswain.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from coxswain.apiserver.admission.node_restriction import NodeRestriction
from coxswain.apiserver.admission.optional import OPTIONAL
from coxswain.apiserver.admission.pod_security import PodSecurity
from coxswain.apiserver.admission.pod_topology_labels import PodTopologyLabels
from coxswain.apiserver.admission.policies.plugins import MutatingAdmissionPolicy, ValidatingAdmissionPolicy
from coxswain.apiserver.admission.priority import Priority
from coxswain.apiserver.admission.quota import ResourceQuota
from coxswain.apiserver.admission.quota.ledger import Ledger
from coxswain.apiserver.admission.quota.plugin import QuotaWriter
from coxswain.apiserver.admission.request import Plugin
from coxswain.apiserver.admission.runtime_class import RuntimeClass
from coxswain.apiserver.admission.service_account import ServiceAccount
from coxswain.apiserver.admission.tolerations import DefaultTolerationSeconds, TaintNodesByCondition
from coxswain.apiserver.admission.versions import Versions
from coxswain.apiserver.admission.volume_resize import PersistentVolumeClaimResize
from coxswain.apiserver.admission.webhooks import MutatingAdmissionWebhook, ValidatingAdmissionWebhook
from coxswain.apiserver.admission.webhooks.calling import Asker
from coxswain.apiserver.admission.webhooks.client import Caller, HttpCaller
from coxswain.apiserver.admission.webhooks.configuration import Credentials
from coxswain.apiserver.admission.webhooks.matching import Matcher
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.apiserver.registry import Registry
from coxswain.base.errors import ConfigurationError


def default_chain(
    lookup: Lookup,
    authorizer: Authorizer,
    *,
    disable: Collection[str] = (),
    enable: Collection[str] = (),
    registry: Registry | None = None,
    caller: Caller | None = None,
    config_file: Path | None = None,
) -> Chain:
    """The default plugins without those named in ``disable``, and the optional ones named in ``enable``.

    ``caller`` is how webhooks are reached, ``config_file`` an AdmissionConfiguration.

    Raises ``ConfigurationError``.
    """
    told = load(config_file) if config_file is not None else AdmissionConfiguration()
    mutating, validating = _webhooks(lookup, registry, authorizer, caller, told.webhooks)
    mutating_policies, validating_policies = _policies(lookup, registry, authorizer)
    plugins: list[Plugin] = [
        NamespaceLifecycle(lookup),
        LimitRanger(lookup),
        ServiceAccount(lookup),
        NodeRestriction(lookup, authorizer),
        TaintNodesByCondition(),
        PodSecurity(lookup, told.pod_security),
        Priority(lookup),
        DefaultTolerationSeconds(),
        DefaultStorageClass(lookup),
        StorageObjectInUseProtection(),
        PersistentVolumeClaimResize(lookup),
        RuntimeClass(lookup),
        CertificateApproval(authorizer),
        CertificateSigning(authorizer),
        CertificateSubjectRestriction(),
        DefaultIngressClass(lookup),
        PodTopologyLabels(lookup),
        *mutating_policies,
        *mutating,
        *validating_policies,
        *validating,
        ResourceQuota(lookup, _ledger(lookup, registry), told.limited),
    ]
    known = {plugin.NAME for plugin in plugins} | OPTIONAL.keys() | _OUTSIDE
    unknown = (set(disable) | set(enable)) - known
    if unknown:
        raise ConfigurationError(f"admission plugins that do not exist: {', '.join(sorted(unknown))}")
    for name, (made, before) in OPTIONAL.items():
        if name in enable:
            names = [plugin.NAME for plugin in plugins]
            plugins.insert(names.index(before) if before else len(plugins), made())
    kept = [plugin for plugin in plugins if plugin.NAME not in disable or plugin.NAME in enable]
    return Chain([*kept, CertificateRequester(), RbacEscalation(authorizer)], lookup)


#: There is no sense in these without a registry.
_OUTSIDE = frozenset(
    {
        MutatingAdmissionPolicy.NAME,
        MutatingAdmissionWebhook.NAME,
        ValidatingAdmissionPolicy.NAME,
        ValidatingAdmissionWebhook.NAME,
    }
)


def _ledger(lookup: Lookup, registry: Registry | None) -> Ledger | None:
    if registry is None:
        return None
    writer = QuotaWriter(registry)
    return Ledger(lookup, writer, writer.catch_up)


def _policies(
    lookup: Lookup, registry: Registry | None, authorizer: Authorizer
) -> tuple[list[Plugin], list[Plugin]]:
    if registry is None:
        return [], []
    versions = Versions(registry)
    mutating = MutatingAdmissionPolicy(lookup, registry, versions, authorizer)
    return [mutating], [ValidatingAdmissionPolicy(lookup, registry, versions, authorizer)]


def _webhooks(
    lookup: Lookup,
    registry: Registry | None,
    authorizer: Authorizer,
    caller: Caller | None,
    kubeconfigs: Mapping[str, Path],
) -> tuple[list[Plugin], list[Plugin]]:
    if registry is None:
        return [], []
    # Here, because the verbs know the admission chain.
    from coxswain.apiserver.verbs.writing import new_uid

    versions = Versions(registry)
    matcher = Matcher(lookup, versions, authorizer)
    common = Asker(lookup, caller or HttpCaller(), new_uid)

    def asker(name: str) -> Asker:
        path = kubeconfigs.get(name)
        return common if path is None else Asker(lookup, HttpCaller(Credentials(path)), new_uid)

    mutating = MutatingAdmissionWebhook(lookup, versions, matcher, asker(MutatingAdmissionWebhook.NAME))
    validating = ValidatingAdmissionWebhook(lookup, versions, matcher, asker(ValidatingAdmissionWebhook.NAME))
    return [mutating], [validating]
