"""Webhooks: admission that asks somebody else, over HTTPS.

    configurations --hooks.py: compiled once a generation--> Hook
    request --rules.py, matching.py: rules, selectors, match conditions--> Invocation (hook, resource, kind)
        --review.py: AdmissionReview--> client.py: POST --> review.py: verdict, patch, warnings
    mutating.py asks one after the other and applies their patches; validating.py asks all at one time

Follows ``staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook``. What is refused is worded as there:
clients and people match on it.
"""

from coxswain.apiserver.admission.webhooks.mutating import MutatingAdmissionWebhook
from coxswain.apiserver.admission.webhooks.validating import ValidatingAdmissionWebhook

__all__ = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]
