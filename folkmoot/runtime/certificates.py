# SPDX-License-Identifier: Apache-2.0
"""A certificate authority of one's own: for a SuperLink that has no name that a public authority would sign.

Makes keys and certificates (P-256) as PEM; talks to nobody. Needs `cryptography`, which Flower brings.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from folkmoot.errors import InputError
from folkmoot.runtime.files import write_whole

DAYS = 397
"""Days for which a certificate is good: what browsers take at most."""
AUTHORITY_DAYS = 3650
"""Days for which an authority is good: every contributor has its certificate and would have to get another one."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def not_after(self) -> datetime:
        """When it expires."""
        return self.certificate.not_valid_after_utc

    def save(self, certificate: Path, key: Path) -> None:
        """Write both as PEM; nobody else may read the key."""
        secret = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_whole(key, secret, mode=0o600)
        write_whole(certificate, self.certificate.public_bytes(serialization.Encoding.PEM))


@dataclass(frozen=True)
class Authority(Pair):
    """Signs certificates for names."""

    @classmethod
    def create(cls, name: str, days: int = AUTHORITY_DAYS, *, key: Path | None = None) -> Authority:
        """Make one that signs itself.

        Args:
            name: Its name for people.
            days: How long it is good.
            key: File with its key; a new one is made if left out. Who was interrupted between key and certificate
                goes on with the key.
        """
        return cls._of(ec.generate_private_key(ec.SECP256R1()) if key is None else _key(key), name, days)

    @classmethod
    def _of(cls, key: ec.EllipticCurvePrivateKey, name: str, days: int) -> Authority:
        subject = _named(name)
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        made = (
            _builder(subject, subject, key, datetime.now(UTC) + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(made, key)

    @classmethod
    def load(cls, certificate: Path, key: Path) -> Authority:
        """Read one that was saved.

        Raises:
            InputError: A file is missing or is not what it should be.
        """
        try:
            parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(certificate, error) from error
        secret = _key(key)
        if secret.public_key() != parsed.public_key():
            raise InputError(
                f"{key} is not the key of {certificate}.",
                remedy="Put the right one back, or choose another folder.",
                code="authority",
            )
        return cls(parsed, secret)

    def issue(self, *names: str, days: int = DAYS, not_after: datetime | None = None) -> Pair:
        """Sign a certificate for host names and IP addresses.

        Args:
            names: The first one is its name for people.
            days: How long it is good, never longer than the authority.
            not_after: When it expires, instead.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        end = min(not_after or datetime.now(UTC) + timedelta(days=days), self.not_after)
        made = (
            _builder(_named(names[0]), self.certificate.subject, key, end)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
            )
            .sign(self.key, hashes.SHA256())
        )
        return Pair(made, key)

    def vouches_for(self, file: Path, names: Sequence[str], until: datetime) -> bool:
        """Whether a file holds a certificate of ours, for these names and no others, that is good until then."""
        try:
            parsed = x509.load_pem_x509_certificate(file.read_bytes())
            parsed.verify_directly_issued_by(self.certificate)
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature):
            return False
        return set(names_of(file)[0]) == set(names) and parsed.not_valid_after_utc > until


def names_of(file: Path) -> tuple[list[str], datetime]:
    """The names that a certificate is for, and when it expires."""
    parsed = x509.load_pem_x509_certificate(file.read_bytes())
    listed = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in listed], parsed.not_valid_after_utc


def _key(file: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unreadable(file, "it is a key of another kind")
    return key


def _unreadable(file: Path, why: object) -> InputError:
    return InputError(
        f"The authority's {file} can't be read: {why}.",
        remedy="Its certificate and its key belong together: put both back, or choose another folder.",
        code="authority",
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.removeprefix("*.").split(".")
    if not name.isascii() or not all(label.replace("-", "").isalnum() for label in labels):
        raise InputError(
            f"{name!r} is no name of a machine.",
            remedy="Write a host name or an IP address, without a port.",
            code="invalid-address",
        )
    return x509.DNSName(name)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, so that a clock that is a little behind takes it; before the end, if that is past.
        .not_valid_before(min(datetime.now(UTC), not_after) - timedelta(hours=1))
        .not_valid_after(not_after)
    )
