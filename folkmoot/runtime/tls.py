# SPDX-License-Identifier: Apache-2.0
"""What TLS said when a connection failed, in words that whoever has to mend it can use.

Knows no address and no library: it looks for Python's own error below whatever was raised. Travels in the app bundle.
"""

from __future__ import annotations

import ssl

REMEDY = (
    "If the certificate has expired or is for another name, its operator must renew it; if its authority is one of "
    "their own, name that authority's file in SSL_CERT_FILE."
)
"""What to do about a certificate that a web client did not accept."""


def reason(error: BaseException) -> str:
    """Why TLS failed, e.g. ``certificate has expired``; empty if it was not TLS.

    Args:
        error: What was raised; the errors that caused it are looked through.
    """
    found: BaseException | None = error
    for _ in range(16):  # chains can be circular
        if isinstance(found, ssl.SSLError):
            # Either is there only if OpenSSL said it.
            if said := getattr(found, "verify_message", None):
                return str(said).rstrip(".")
            return str(getattr(found, "reason", None) or found).replace("_", " ").lower()
        if found is None:
            break
        found = found.__cause__ or found.__context__
    return ""
