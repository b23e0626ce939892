"""Fills token secrets: token, certificate and namespace, for the account that their annotation names.

    secret of an account that is there      -> what is missing is filled in
    secret of an account that is gone       -> deleted (the API server is asked first, not only the cache)

The key comes from the option ``service_account_private_key_file``; without it, nothing is filled in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from coxswain.api import meta
from coxswain.api.errors import NotFound
from coxswain.api.names import SECRETS, SERVICE_ACCOUNTS, Object
from coxswain.client.informer import key_of, split_key
from coxswain.controllers.accounttokens.decide import (
    SECRET_TYPE,
    account_of,
    belongs,
    claims,
    completed,
    needs_token,
)
from coxswain.controllers.accounttokens.signer import TokenSigner
from coxswain.controllers.descriptor import ControllerContext, Descriptor
from coxswain.controllers.rootca import root_certificate
from coxswain.controllers.shell import Shell

log = logging.getLogger(__name__)
NAME = "serviceaccount-token-controller"


class AccountTokens:
    """The shell; ``run`` ends with its task."""

    def __init__(self, context: ControllerContext, signer: TokenSigner, certificate: str) -> None:
        self._client = context.client
        self._informers = context.informers
        self._signer = signer
        self._certificate = certificate
        self._accounts = context.informers.informer(SERVICE_ACCOUNTS)
        self._secrets = context.informers.informer(SECRETS, field_selector=f"type={SECRET_TYPE}")
        self._shell = Shell(NAME, self.reconcile, context.workers)
        self._secrets.add_handler(self._add, lambda _, new: self._add(new))
        self._accounts.add_handler(self._account_changed, None, self._account_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._informers.start()
        await self._accounts.wait_synced()
        await self._secrets.wait_synced()
        await self._shell.run()

    def _add(self, secret: Object) -> None:
        self._shell.add(key_of(secret))

    def _account_changed(self, account: Object) -> None:
        for secret in self._secrets.in_namespace(meta.namespace(account)):
            if account_of(secret) == meta.name(account):
                self._add(secret)

    async def reconcile(self, key: str) -> None:
        """Fill in one secret, or delete it."""
        secret = self._secrets.get(key)
        if secret is None or meta.is_terminating(secret) or not account_of(secret):
            return
        account = await self._account(secret)
        try:
            if account is None:
                await self._client.delete(
                    SECRETS,
                    meta.name(secret),
                    meta.namespace(secret),
                    uid=meta.uid(secret),
                    resource_version=meta.resource_version(secret),
                )
                return
            token = self._signer.sign(claims(secret, account)) if needs_token(secret) else ""
            wanted = completed(secret, account, self._certificate, token)
            if wanted is not None:
                await self._client.update(SECRETS, wanted)
        except NotFound:
            return

    async def _account(self, secret: Object) -> Object | None:
        namespace, _ = split_key(key_of(secret))
        name = account_of(secret)
        account = self._accounts.get(f"{namespace}/{name}")
        if not belongs(secret, account):
            try:
                account = await self._client.get(SERVICE_ACCOUNTS, name, namespace)
            except NotFound:
                return None
        return account if belongs(secret, account) else None


def signer_of(options: Mapping[str, Any]) -> TokenSigner | None:
    """The signer that ``options`` name, if they do. Raises ``ConfigurationError``."""
    file = str(options.get("service_account_private_key_file") or "")
    return TokenSigner.read(file) if file else None


async def run(context: ControllerContext) -> None:
    """Run until cancelled."""
    signer = signer_of(context.options)
    if signer is None:
        log.info("no service account private key: token secrets are left to others")
        await asyncio.Event().wait()
    assert signer is not None
    await AccountTokens(context, signer, await root_certificate(context)).run()


DESCRIPTOR = Descriptor(NAME, run, check=signer_of)
