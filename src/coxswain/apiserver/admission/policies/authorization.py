"""What expressions find under ``authorizer``: the server's own authorizer, asked for the request's user.

Answers are remembered for the request.
"""

from __future__ import annotations

from typing import Any

from coxswain.api.cel.authorizer import Authorizer, Decision, Question, ResourceCheck, resource_check
from coxswain.apiserver.admission.request import Request
from coxswain.apiserver.authz import authorizer as authz
from coxswain.apiserver.authz.attributes import Attributes
from coxswain.client.interface import UserInfo


def variables(authorizer: authz.Authorizer, request: Request) -> dict[str, Any]:
    """``authorizer`` and ``authorizer.requestResource`` for one request."""
    asker = for_user(authorizer, request.user)
    return {"authorizer": asker, "authorizer.requestResource": _own(asker, request)}


def for_user(authorizer: authz.Authorizer, user: UserInfo) -> Authorizer:
    """The authorizer as an expression's value."""
    known: dict[Question, Decision] = {}

    def decide(question: Question) -> Decision:
        found = known.get(question)
        if found is None:
            found = known[question] = _decide(authorizer, user, question)
        return found

    return Authorizer(decide)


def _own(asker: Authorizer, request: Request) -> ResourceCheck:
    resource = request.resource
    question = Question(
        "", resource.group, resource.resource, request.subresource, request.namespace, request.name
    )
    return resource_check(asker, question)


def _decide(authorizer: authz.Authorizer, user: UserInfo, question: Question) -> Decision:
    if question.service_account:
        namespace, _, name = question.service_account.partition(":")
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        user = UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)
    answer = authorizer.authorize(
        Attributes(
            user,
            question.verb,
            question.group,
            "*" if question.resource else "",
            question.resource,
            question.subresource,
            question.namespace,
            question.name,
            question.path,
            is_resource=bool(question.resource),
            field_selector=question.field_selector,
            label_selector=question.label_selector,
        )
    )
    return Decision(answer.allowed, answer.reason, answer.error)
