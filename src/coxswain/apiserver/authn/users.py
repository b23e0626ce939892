"""Users as reviews, webhooks and the audit log show them."""

from __future__ import annotations

from coxswain.api.names import Object
from coxswain.client.interface import UserInfo


def user_info(user: UserInfo) -> Object:
    """authentication.k8s.io/v1 UserInfo; empty fields but the name are left out."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return info
