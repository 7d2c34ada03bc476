"""The certificates of one installation: an authority of its own, and what each program shows the others."""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

TRUST_DOMAIN = "forge"
AUTHORITY_VALID = timedelta(days=3650)
PROGRAM_VALID = timedelta(days=397)
_RENEWED_BEFORE_ITS_END = 2 * PROGRAM_VALID
_CLOCKS_DIFFER = timedelta(days=1)


@dataclass(frozen=True)
class Program:
    """A program with a certificate: the name of its files, and its identity below the trust domain."""

    name: str
    identity: str

    @property
    def spiffe_id(self) -> str:
        """What its certificate says it is."""
        return f"spiffe://{TRUST_DOMAIN}/{self.identity}"

    @property
    def host_name(self) -> str:
        """The same as a DNS name, which TLS libraries compare."""
        return f"{self.name}.forge.internal"


EDGE = Program("edge", "edge")
WORKER = Program("inference-worker", "worker")


def service(name: str) -> Program:
    """A service: it may speak for itself and for the keys behind the calls it passes on."""
    return Program(name, f"service/{name}")


def write_certificates(folder: Path, programs: Iterable[Program], now: datetime | None = None) -> None:
    """Give each program a new certificate in `folder`; the authority that signs them is made once and kept.

    `ca.pem` is what programs know each other by, `<name>.pem` and `<name>.key` what they show. All is for its owner
    only. Programs that still run with an earlier certificate go on being known: the authority is the same.
    """
    now = now or datetime.now(UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    authority, signer = _authority(folder, now)
    for program in programs:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate_of(program, key.public_key(), authority, signer, now)
        _write(folder / f"{program.name}.key", _key_pem(key))
        _write(folder / f"{program.name}.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _authority(folder: Path, now: datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """The authority in `folder`; a new one where there is none that lives long enough."""
    with suppress(FileNotFoundError, ValueError):
        certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
        ends_soon = certificate.not_valid_after_utc < now + _RENEWED_BEFORE_ITS_END
        if (
            isinstance(key, ec.EllipticCurvePrivateKey)
            and not ends_soon
            and key.public_key() == certificate.public_key()
        ):
            return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Forge installation {secrets.token_hex(4)}")])
    certificate = (
        _unsigned(name, name, key.public_key(), now, AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write(folder / "ca.key", _key_pem(key))
    _write(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _certificate_of(
    program: Program,
    public_key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate,
    signer: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, program.name)])
    names = [x509.UniformResourceIdentifier(program.spiffe_id), x509.DNSName(program.host_name)]
    return (
        _unsigned(name, authority.subject, public_key, now, PROGRAM_VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _unsigned(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    """Put a file in its place whole: a program that starts meanwhile reads the old one or the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
