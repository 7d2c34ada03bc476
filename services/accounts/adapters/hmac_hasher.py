"""Keyed hashes of secrets: HMAC-SHA256."""

import hmac
import secrets
from hashlib import sha256

from services.chassis.secret_files import SecretFile


class HmacHasher:
    """Hashes with a pepper that is not in the database. Fast on purpose: nobody guesses 190 random bits."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    @classmethod
    def with_pepper_in(cls, file: SecretFile) -> "HmacHasher":
        """A hasher with the pepper in `file`, which is made when missing."""
        return cls(bytes.fromhex(file.read_or_write(secrets.token_hex(32))))

    def digest(self, secret: str) -> bytes:
        """A keyed hash of `secret`, 32 bytes."""
        return hmac.digest(self._pepper, secret.encode(), sha256)
