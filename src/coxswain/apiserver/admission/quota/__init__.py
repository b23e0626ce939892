"""ResourceQuota: what would exceed a namespace's hard limits is refused, and what is admitted is charged.

evaluate    what a request adds to which quota, and whether that is too much: pure
ledger      writes the charges: many waiting requests in one update, tried again when somebody else was faster
plugin      the admission plugin

A charge stands in the quota's ``status.used`` before the object exists, so that no two requests, of whichever
server, can use the same room. What was charged in vain (the object was refused later) the quota controller takes
back. Follows ``staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota``.
"""

from coxswain.apiserver.admission.quota.plugin import ResourceQuota

__all__ = ["ResourceQuota"]
