"""Links that open one video for a while, signed so that nobody can make or change one."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from itsdangerous import BadData, URLSafeSerializer

from services.chassis.secret_files import SecretFile


@dataclass(frozen=True)
class Link:
    """Leave to fetch the video of a render of an account."""

    account: str
    render_id: str
    expires_at: datetime
    """To the second."""


class SignedLinks:
    """Makes tokens of links, and links of tokens. Replicas with the same secret understand each other's."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeSerializer(
            secret,
            salt="forge.video-link",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )

    @classmethod
    def with_secret_in(cls, file: SecretFile) -> "SignedLinks":
        """With the secret of a file, made when missing."""
        return cls(file.read_or_write(secrets.token_urlsafe(32)))

    def token(self, link: Link) -> str:
        """What opens the video. Who has it can read whose it is, but not make another."""
        token = self._serializer.dumps([link.account, link.render_id, int(link.expires_at.timestamp())])
        return token if isinstance(token, str) else token.decode("ascii")

    def link(self, token: str) -> Link | None:
        """What a token opens, expired or not; None for one that was not made here."""
        try:
            account, render_id, expires_at = self._serializer.loads(token)
        except BadData:
            return None
        return Link(account, render_id, datetime.fromtimestamp(expires_at, UTC))
