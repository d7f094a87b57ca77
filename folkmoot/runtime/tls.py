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
    cause: BaseException | None = error
    for _ in range(16):  # chains can be circular
        if isinstance(cause, ssl.SSLError):
            # Either is there only if OpenSSL said it.
            if message := getattr(cause, "verify_message", None):
                return str(message).rstrip(".")
            return str(getattr(cause, "reason", None) or cause).replace("_", " ").lower()
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return ""
