"""PodSecurity: the Pod Security Standards, asked for by labels on namespaces.

levels.py     labels -> policy (enforce, audit, warn: each a level and a version)
checks.py     the checks, each with the versions of Kubernetes from which it counts
plugin.py     the admission plugin: refuses, warns, and tells what a namespace's pods would violate
"""

from coxswain.apiserver.admission.pod_security.plugin import PodSecurity

__all__ = ["PodSecurity"]
