"""Opens a store behind the keys of a file, and follows the file while the server runs.

changed and sound   new transformers are started and used from the next request on
changed and wrong   the keys stay as they are, and the log says what is wrong
"""

from __future__ import annotations

import logging

from coxswain.apiserver.encryption import configuration
from coxswain.apiserver.encryption.resources import Transformers
from coxswain.apiserver.encryption.sealedstore import EncryptedStore
from coxswain.apiserver.encryption.settings import EncryptionSettings
from coxswain.base import clock
from coxswain.base.errors import CoxswainError
from coxswain.store.interface import Store

log = logging.getLogger(__name__)


class Encryption:
    """Encryption at rest of one server: its store, its health, its file."""

    def __init__(self, store: EncryptedStore, settings: EncryptionSettings, digest: str) -> None:
        self.store = store
        self.settings = settings
        self._digest = digest

    @classmethod
    async def open(cls, store: Store, settings: EncryptionSettings) -> Encryption:
        """``store`` behind the keys of the file. Raises ``ConfigurationError`` and ``ResourceUnavailable``."""
        assert settings.config_file is not None
        loaded = configuration.load(settings.config_file)
        transformers = Transformers.of(loaded)
        await _started(transformers)
        return cls(EncryptedStore(store, transformers), settings, loaded.digest)

    @property
    def is_checked(self) -> bool:
        """Whether there is a health check: where KMS plugins are in use, or may be after a change of the file."""
        return bool(self.store.transformers.kms) or self.settings.automatic_reload

    def problem(self) -> str | None:
        """What is wrong with the KMS plugins, for the health check."""
        problems = [
            f"kmsv2 Provider {one.name} is not healthy, error: {one.problem}"
            for one in self.store.transformers.kms
            if one.problem
        ]
        return "; ".join(problems) or None

    async def follow(self) -> None:
        """Take a changed file, until cancelled."""
        while True:
            await clock.sleep(self.settings.reload_interval)
            await self.look()

    async def look(self) -> bool:
        """Take the file if it has changed and is sound; whether it was taken."""
        path = self.settings.config_file
        assert path is not None
        try:
            if configuration.digest_of(path) == self._digest:
                return False
            loaded = configuration.load(path)
            transformers = Transformers.of(loaded)
            await _started(transformers)
        except CoxswainError as error:
            log.error("the encryption configuration stays as it was: %s", error)
            return False
        former = self.store.replace(transformers)
        self._digest = loaded.digest
        log.info("the encryption configuration was read again")
        await former.close()
        return True


async def _started(transformers: Transformers) -> None:
    try:
        await transformers.start()
    except BaseException:
        await transformers.close()
        raise
