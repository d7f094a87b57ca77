# SPDX-License-Identifier: Apache-2.0
"""Checks of the certificates and clocks of servers."""

from __future__ import annotations

import math
import socket
import ssl
import time
from email.utils import parsedate_to_datetime

from folkmoot.doctor.check import Finding, failed, ok, warning

TIMEOUT = 10.0
"""Timeout in seconds for a server's answer."""

DAYS_LEFT = 14
"""Days before the expiry of a certificate from which the check warns."""

CLOCK_SECONDS = 60.0
"""Maximum difference in seconds between a server's clock and this machine's clock without a warning."""

_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def certificate(host: str, port: int, context: ssl.SSLContext) -> Finding:
    """Check the certificate of a server with a given trust.

    Args:
        host: Host name or IP address.
        port: TCP port.
        context: TLS context with the trusted certificates.

    Raises:
        OSError: No server listens on the port.
    """
    where = f"{host}:{port}"
    try:
        with (
            socket.create_connection((host, port), TIMEOUT) as connection,
            context.wrap_socket(connection, server_hostname=host) as spoken,
        ):
            shown = spoken.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return failed(
                f"The certificate of {where} has expired: nobody who checks it gets through.",
                "Its operator renews it (certbot renew, or whatever issued it) and restarts the server.",
            )
        return failed(
            f"The certificate of {where} is not trusted: {error.verify_message}.",
            "Give its authority's certificate (SSL_CERT_FILE for the API, --root-certificates for a SuperLink); if it "
            "should be trusted as it is, do not go on: somebody may be between you and the server.",
        )
    except ssl.SSLError as error:
        return failed(
            f"TLS with {where} fails: {error.reason or error}.",
            "Check that the server speaks TLS on that port, or use http:// or --insecure if it has none.",
        )
    end = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    days_left, day = (end - time.time()) / 86_400, time.strftime("%Y-%m-%d", time.gmtime(end))
    if days_left < DAYS_LEFT:
        return warning(
            f"The certificate of {where} ends on {day}, in {math.floor(days_left)} days; then nobody gets through.",
            "Its operator must renew it, and check why it was not renewed automatically.",
        )
    return ok(f"The certificate of {where} is trusted, and good until {day}.")


def clock(date: str | None, who: str, why: str) -> Finding:
    """Compare a server's clock with this machine's.

    Args:
        date: The `Date` header of an HTTP answer that has just arrived.
        who: Description of the server, as the beginning of a sentence.
        why: Why the difference matters, as the end of a sentence.
    """
    try:
        server_time = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return ok(f"{who} does not say what time it is.")
    apart = server_time - time.time()
    if abs(apart) > CLOCK_SECONDS:
        return warning(
            f"{who} is {abs(apart):.0f} seconds {'ahead of' if apart > 0 else 'behind'} this machine: {why}.",
            "Find out whose clock is wrong, and run a time service there (chrony, systemd-timesyncd).",
        )
    return ok(f"{who} has the time of this machine.")
