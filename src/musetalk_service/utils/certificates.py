"""TLS certificates: what a file holds, whether key and certificate match, and one of our own for trying."""

import contextlib
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from musetalk_service.errors import ConfigurationError

_CLOCK_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What matters of a server's certificate."""

    names: tuple[str, ...]
    """Host names and addresses that it is for."""
    begins: datetime
    expires: datetime
    self_signed: bool


def check_key_pair(certificate: Path, key: Path) -> None:
    """Raises :class:`ConfigurationError` when a server could not start with these two files."""
    for setting, path in (("TLS_CERTFILE", certificate), ("TLS_KEYFILE", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    try:
        # Without the empty password OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "not in PEM form, or the key has a password"
        raise ConfigurationError(
            f"TLS_CERTFILE and TLS_KEYFILE are no certificate with its key ({reason.replace('_', ' ').lower()})"
        ) from None


def read_certificate(path: Path) -> Certificate:
    """The first certificate of a PEM file. Raises ``OSError`` or ``ValueError``."""
    parsed = x509.load_pem_x509_certificate(path.read_bytes())
    names: list[str] = []
    with contextlib.suppress(x509.ExtensionNotFound):
        alternatives = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += alternatives.get_values_for_type(x509.DNSName)
        names += [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
    return Certificate(
        tuple(names), parsed.not_valid_before_utc, parsed.not_valid_after_utc, parsed.issuer == parsed.subject
    )


def machine_names() -> list[str]:
    """The names and addresses under which others may reach this machine, localhost first."""
    host = socket.gethostname()
    names = ["localhost", "127.0.0.1", "::1", host, socket.getfqdn()]
    with contextlib.suppress(OSError):  # a host name that resolves to nothing
        names += [str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None)]
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # only looks up the route; UDP sends nothing here
                names.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    return list(dict.fromkeys(name for name in names if name))


def make_self_signed(names: Sequence[str], days: int = 365) -> tuple[bytes, bytes]:
    """A certificate for names and addresses, and its key, both in PEM form (RFC 5280, P-256)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "MuseTalk service (self-signed)")])
    now = datetime.now(timezone.utc)
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,  # who trusts it trusts this server, and nothing that it might sign
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
