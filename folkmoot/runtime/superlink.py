# SPDX-License-Identifier: Apache-2.0
"""Where a SuperLink is, and whether it can be talked to. For the commands that start Flower's own programs.

Does not travel in the app bundle.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from folkmoot.errors import InputError, LocalError
from folkmoot.runtime import services, tls

TIMEOUT = 10.0
"""Seconds that a SuperLink may take to answer."""


@dataclass(frozen=True)
class SuperLink:
    """The address of a SuperLink and how it is spoken to."""

    address: str
    """``host:port``."""
    root_certificates: Path | None = None
    """Certificates that its TLS is checked with; those of the system if left out."""
    plain: bool = False
    """Whether to speak without TLS although it is on another machine."""
    simulated: int = 0
    """Nodes that its simulation engine makes, in the place of SuperNodes that connect; 0 without one."""

    def __post_init__(self) -> None:
        """Check the form of the address.

        Raises:
            InputError: it is not ``host:port``.
        """
        host, _, port = self.address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(
                f"{self.address!r} is no address of a SuperLink.",
                remedy="Write HOST:PORT.",
                code="invalid-address",
            )

    @property
    def host(self) -> str:
        """Name or number of the machine."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    @property
    def insecure(self) -> bool:
        """Whether it is spoken to without TLS: on this machine, or if asked to, and no certificates are given."""
        return self.root_certificates is None and (self.plain or is_loopback(self.host))

    def context(self) -> ssl.SSLContext:
        """Return what its certificate is checked with.

        Raises:
            LocalError: its root certificates can't be read.
        """
        try:
            return ssl.create_default_context(cafile=self.root_certificates)
        except (OSError, ssl.SSLError) as error:
            raise LocalError(
                f"The root certificates {self.root_certificates} can't be read: {tls.reason(error) or error}.",
                remedy="Give a file with certificates in PEM by --root-certificates.",
                code="superlink-tls",
            ) from error

    def check(self) -> None:
        """Connect once, with TLS if that is how it is spoken to.

        Raises:
            LocalError: nothing listens there, TLS fails, or another service of a federation answers.
        """
        context = None if self.insecure else self.context()
        try:
            with socket.create_connection((self.host, self.port), TIMEOUT) as connection:
                if context is not None:
                    with context.wrap_socket(connection, server_hostname=self.host):
                        pass
        except ssl.SSLError as error:
            raise self.tls_failure(tls.reason(error)) from error
        except OSError as error:
            raise LocalError(
                f"The SuperLink at {self.address} can't be reached: {error.strerror or error}.",
                remedy="Check the address with the coordinator's operator, and that the SuperLink runs.",
                code="superlink-unreachable",
            ) from error
        if context is None and (
            mistake := services.mistaken(f"http://{self.address}", self.address, services.SUPERLINK)
        ):
            raise LocalError(mistake[0], remedy=mistake[1], code="wrong-service")

    def tls_failure(self, why: str) -> LocalError:
        """Return the error for a SuperLink whose TLS failed."""
        return LocalError(
            f"The SuperLink at {self.address} can't be talked to with TLS: {why}.",
            remedy="If its certificate has expired or is for another name, its operator must renew it; if its "
            "authority is their own, give --root-certificates; if it has no TLS, --insecure.",
            code="superlink-tls",
        )


def is_loopback(host: str) -> bool:
    """Whether a machine's name or number means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
