"""The certificates of an installation."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from forge_cli.certificates import AUTHORITY_VALID, EDGE, PROGRAM_VALID, WORKER, service, write_certificates

PROGRAMS = [EDGE, WORKER, service("catalog")]


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes())


def names_of(found: x509.Certificate) -> tuple[list[str], list[str]]:
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier), names.get_values_for_type(x509.DNSName)


def test_each_program_has_one_name_in_the_style_of_spiffe_and_a_host_name(tmp_path):
    write_certificates(tmp_path, PROGRAMS)
    assert names_of(certificate(tmp_path, "edge")) == (["spiffe://forge/edge"], ["edge.forge.internal"])
    assert names_of(certificate(tmp_path, "catalog")) == (
        ["spiffe://forge/service/catalog"],
        ["catalog.forge.internal"],
    )
    assert names_of(certificate(tmp_path, "inference-worker")) == (
        ["spiffe://forge/worker"],
        ["inference-worker.forge.internal"],
    )


def test_the_authority_signs_what_programs_show_and_nothing_else_can_sign(tmp_path):
    write_certificates(tmp_path, PROGRAMS)
    authority = certificate(tmp_path, "ca")
    for program in PROGRAMS:
        shown = certificate(tmp_path, program.name)
        shown.verify_directly_issued_by(authority)
        constraints = shown.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert not constraints.value.ca


def test_a_key_belongs_to_its_certificate(tmp_path):
    write_certificates(tmp_path, PROGRAMS)
    for program in PROGRAMS:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{program.name}.pem", tmp_path / f"{program.name}.key")


def test_nobody_but_the_owner_reads_them(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    write_certificates(folder, PROGRAMS)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_new_start_gives_new_certificates_under_the_same_authority(tmp_path):
    write_certificates(tmp_path, PROGRAMS)
    authority, before = certificate(tmp_path, "ca"), certificate(tmp_path, "edge")
    write_certificates(tmp_path, PROGRAMS)
    after = certificate(tmp_path, "edge")
    assert certificate(tmp_path, "ca") == authority
    assert after.serial_number != before.serial_number
    assert after.public_key() != before.public_key()


def test_the_authority_outlives_every_certificate_it_signs(tmp_path):
    first = datetime(2026, 1, 1, tzinfo=UTC)
    write_certificates(tmp_path, PROGRAMS, first)
    old = certificate(tmp_path, "ca")
    late = first + AUTHORITY_VALID - PROGRAM_VALID
    write_certificates(tmp_path, PROGRAMS, late)
    assert certificate(tmp_path, "ca") != old
    assert certificate(tmp_path, "edge").not_valid_after_utc < certificate(tmp_path, "ca").not_valid_after_utc


def test_certificates_hold_where_clocks_differ_and_end_within_thirteen_months(tmp_path):
    now = datetime(2026, 5, 1, tzinfo=UTC)
    write_certificates(tmp_path, PROGRAMS, now)
    shown = certificate(tmp_path, "edge")
    assert shown.not_valid_before_utc <= now - timedelta(hours=12)
    assert now + timedelta(days=365) < shown.not_valid_after_utc < now + timedelta(days=400)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nhalf"])
def test_a_damaged_authority_is_made_anew(tmp_path, damage):
    write_certificates(tmp_path, PROGRAMS)
    (tmp_path / "ca.pem").write_bytes(damage)
    write_certificates(tmp_path, PROGRAMS)
    certificate(tmp_path, "edge").verify_directly_issued_by(certificate(tmp_path, "ca"))


def test_a_key_of_another_authority_signs_nothing(tmp_path):
    write_certificates(tmp_path / "other", PROGRAMS)
    write_certificates(tmp_path / "mine", PROGRAMS)
    (tmp_path / "mine" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    write_certificates(tmp_path / "mine", PROGRAMS)
    certificate(tmp_path / "mine", "edge").verify_directly_issued_by(certificate(tmp_path / "mine", "ca"))
    serialization.load_pem_private_key((tmp_path / "mine" / "ca.key").read_bytes(), password=None)
