"""A setting or URL that must not be shown: by its type, wherever it is printed, recorded or pickled.

A pickle holds it encrypted. The keys are in memory: each process has one of its own, and a worker of a cluster gets
that of the process that made its job (pipelines/worker/job_key.py).
"""

from __future__ import annotations

import functools
import hashlib
import threading
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import core_schema

from curation.errors import DatasetError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

MASK = "***"
REVEAL = "reveal"  # in the context of a pydantic model's dump: write secrets as they are


class Secret:
    """A text that `str`, `repr`, JSON and pickles do not show; `reveal` returns it.

    >>> secret = Secret("hunter2")
    >>> print(secret, [secret], secret.reveal())
    *** [Secret('***')] hunter2
    """

    __slots__ = ("_sealed", "_text")

    def __init__(self, text: str) -> None:
        self._text: str | None = text
        self._sealed = b""

    def reveal(self) -> str:
        """The text. Raises DatasetError if this process has no key for it."""
        if self._text is None:
            self._text = keys.unseal(self._sealed)
        return self._text

    @classmethod
    def _from_seal(cls, sealed: bytes) -> Self:
        """A secret from a pickle, decrypted on first use: a process may pass it on without the key."""
        secret = cls.__new__(cls)
        secret._text, secret._sealed = None, sealed
        return secret

    def __reduce__(self) -> tuple[Any, ...]:
        return Secret._from_seal, (self._sealed if self._text is None else keys.seal(self._text),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        made = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), made],
            custom_error_type="string_type",
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )


def _dumped(secret: Secret | None, info: Any) -> Any:
    if secret is None or info.mode != "json":
        return secret
    return secret.reveal() if (info.context or {}).get(REVEAL) else MASK


class Keys:
    """The keys with which this process seals and unseals secrets: its own, and those of the jobs that it works on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = b""
        self._known: dict[bytes, Fernet] = {}

    @property
    def own(self) -> bytes:
        """This process's key, made on first use."""
        with self._lock:
            if not self._own:
                from cryptography.fernet import Fernet

                self._own = Fernet.generate_key()
                self._known[_name(self._own)] = Fernet(self._own)
            return self._own

    def add(self, key: bytes) -> None:
        """Add the key of a job. Raises ValueError if it is none."""
        from cryptography.fernet import Fernet

        with self._lock:
            self._known[_name(key)] = Fernet(key)

    def seal(self, text: str) -> bytes:
        """`text`, encrypted with this process's key, after the key's name."""
        name = _name(self.own)
        return name + self._known[name].encrypt(text.encode("utf-8", "surrogatepass"))

    def unseal(self, sealed: bytes) -> str:
        """The text of `seal`. Raises DatasetError if its key is not known here."""
        key = self._known.get(sealed[:_NAME_BYTES])
        if key is None:
            raise DatasetError(
                "the key to this job's secrets is gone: the run that made the job has ended; run it again"
            )
        return key.decrypt(sealed[_NAME_BYTES:]).decode("utf-8", "surrogatepass")


_NAME_BYTES = 8


@functools.lru_cache
def _name(key: bytes) -> bytes:
    """The name by which a key is found, which does not give it away."""
    return hashlib.blake2b(key, digest_size=_NAME_BYTES).digest()


keys = Keys()
