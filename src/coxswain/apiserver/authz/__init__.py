"""What they may do: authorizers in a chain, reviews, escalation checks.

authorizer          the chain; attributes: the question, the decision, the words of a refusal
rbac, rules         roles and bindings over the watch cache; aggregation, escalation
node                what a node has to do with (node_relations), and nothing else
abac, webhook       a policy file; a server that is asked (configuration reads the file that names several)
selectors           what narrows a list, as authorization sees it
reviews             TokenReview, SubjectAccessReview and their relatives
"""

from coxswain.apiserver.authz.attributes import Attributes, Decision, forbidden
from coxswain.apiserver.authz.authorizer import MASTERS, Authorizer

__all__ = ["MASTERS", "Attributes", "Authorizer", "Decision", "forbidden"]
