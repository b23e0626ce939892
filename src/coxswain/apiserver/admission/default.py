"""The chain that a server has by default: Kubernetes' default plugins, in Kubernetes' order.

NodeRestriction is on, as kubeadm switches it on. Not here: what calls webhooks or evaluates policies.
"""

from __future__ import annotations

from collections.abc import Collection

from coxswain.apiserver.admission.chain import Chain
from coxswain.apiserver.admission.defaults import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
)
from coxswain.apiserver.admission.escalation import RbacEscalation
from coxswain.apiserver.admission.limit_ranger import LimitRanger
from coxswain.apiserver.admission.namespace_lifecycle import NamespaceLifecycle
from coxswain.apiserver.admission.node_restriction import NodeRestriction
from coxswain.apiserver.admission.pod_security import PodSecurity
from coxswain.apiserver.admission.priority import Priority
from coxswain.apiserver.admission.request import Plugin
from coxswain.apiserver.admission.resource_quota import ResourceQuota
from coxswain.apiserver.admission.runtime_class import RuntimeClass
from coxswain.apiserver.admission.service_account import ServiceAccount
from coxswain.apiserver.admission.tolerations import DefaultTolerationSeconds, TaintNodesByCondition
from coxswain.apiserver.authz.authorizer import Authorizer
from coxswain.apiserver.lookup import Lookup
from coxswain.base.errors import ConfigurationError


def default_chain(lookup: Lookup, authorizer: Authorizer, *, disable: Collection[str] = ()) -> Chain:
    """The default plugins without those named in ``disable``. Raises ``ConfigurationError``."""
    plugins: list[Plugin] = [
        NamespaceLifecycle(lookup),
        LimitRanger(lookup),
        ServiceAccount(lookup),
        NodeRestriction(lookup),
        TaintNodesByCondition(),
        PodSecurity(lookup),
        Priority(lookup),
        DefaultTolerationSeconds(),
        StorageObjectInUseProtection(),
        DefaultStorageClass(lookup),
        RuntimeClass(lookup),
        DefaultIngressClass(lookup),
        ResourceQuota(lookup),
    ]
    unknown = set(disable) - {plugin.NAME for plugin in plugins}
    if unknown:
        raise ConfigurationError(f"admission plugins that do not exist: {', '.join(sorted(unknown))}")
    kept = [plugin for plugin in plugins if plugin.NAME not in disable]
    return Chain([*kept, RbacEscalation(authorizer)])
