"""What they may do: RBAC over the watch cache, the node rules, reviews, escalation checks.

Authorizer(lookup).authorize(Attributes(...)) -> Decision      authorizer.py
forbidden(attributes, reason)                                   attributes.py: the refusal to raise
Reviews(authorizer, authenticator).handle(gvr, obj, user, ns)   reviews.py
"""

from coxswain.apiserver.authz.attributes import Attributes, Decision, forbidden
from coxswain.apiserver.authz.authorizer import MASTERS, Authorizer

__all__ = ["MASTERS", "Attributes", "Authorizer", "Decision", "forbidden"]
