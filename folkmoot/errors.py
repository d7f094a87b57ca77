# SPDX-License-Identifier: Apache-2.0
"""The tree of all expected failures of Folkmoot.

Every error says what failed, why, and what to do next, and has a stable ``code``: the command line prints the message
and exits with 1, the API puts the code into its problem response. Anything else that is raised is a defect.

    FolkmootError
    ├── InputError              an input is invalid
    │   ├── ManifestError       a manifest or a model that does not fit one
    │   ├── EncodingError       an update that can't be encoded or decoded (NaN, shape, size)
    │   ├── UpdateRefused       an update that fails a check; ``code`` is the reason code of docs/protocol.md section 7
    │   ├── KeystoreError       no keystore, or its password is wrong
    │   └── TaskError           an unknown or broken task
    ├── ArtifactError           an artifact is missing or damaged
    ├── ChainError              the chain can't be reached, is the wrong one, or refused
    │   ├── RpcError            no answer or an invalid answer from the RPC endpoint
    │   ├── WrongChainError     another chain id, or no contract at the address
    │   └── ContractRefused     a transaction or call reverted; carries the decoded custom error
    ├── CoordinatorError        the coordinator can't be reached or answered with a problem
    ├── DatabaseError           the database is from another schema, can't be opened, is locked or full
    ├── StoreError              the artifact store is unavailable now; the file may exist
    ├── LocalError              a local program can't be started (port taken, program missing)
    └── AuditFailure            the audit found something that does not match
"""

from __future__ import annotations

from typing import Any

_ENDS = (".", "!", "?", ":", "\N{HORIZONTAL ELLIPSIS}")


def sentence(text: str) -> str:
    """Return a text with a full stop at its end, so that the next sentence does not run into it.

    A text of several lines is returned unchanged: its last line is a quotation, for example of a log.
    """
    if "\n" in text:
        return text
    text = text.strip()
    if text.endswith("..") and not text.endswith("..."):
        text = text[:-1]  # The text quotes another message with its own full stop.
    return text if not text or text.rstrip("\"'`)]").endswith(_ENDS) else text + "."


MOST_DETAIL = 200
"""Maximum length in characters of a node's text that is shown and stored."""


def plain(text: str) -> str:
    """Return an untrusted text as one line of printable characters, cut to `MOST_DETAIL`."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= MOST_DETAIL else words[: MOST_DETAIL - 1] + "\N{HORIZONTAL ELLIPSIS}"


class FolkmootError(Exception):
    """Base of all expected failures.

    Args:
        message: What failed and why, in one sentence. A missing full stop is added.
        remedy: What to do next, in one sentence; empty if nothing can be done. A missing full stop is added.
        code: Stable identifier, in lower case with hyphens. Defaults to the code of the class.
        details: Values behind the failure, JSON types only.
    """

    default_code = "error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        code: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = sentence(message)
        self.remedy = sentence(remedy)
        self.code = code or self.default_code
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.message}{'' if self.message.endswith(chr(10)) else ' '}{self.remedy}".strip()


class InputError(FolkmootError):
    """An input is invalid."""

    default_code = "invalid-input"


class ManifestError(InputError):
    """A manifest is malformed, or a model does not fit it."""

    default_code = "invalid-manifest"


class EncodingError(InputError):
    """An update can't be encoded or decoded."""

    default_code = "invalid-encoding"


class UpdateRefused(InputError):
    """An update fails a check; ``code`` is a reason code of docs/protocol.md section 7."""

    default_code = "update-refused"


class KeystoreError(InputError):
    """A keystore is missing or damaged, or its password is wrong."""

    default_code = "keystore"


class TaskError(InputError):
    """A task is unknown, or violates the task protocol."""

    default_code = "task"


class ArtifactError(FolkmootError):
    """An artifact is missing, or its bytes do not have the hash in its name."""

    default_code = "artifact"


class ChainError(FolkmootError):
    """The chain can't be reached, is not the expected one, or refused."""

    default_code = "chain"


class RpcError(ChainError):
    """The RPC endpoint gave no answer, or an invalid one."""

    default_code = "rpc-unreachable"


class WrongChainError(ChainError):
    """The chain id is another one, or there is no contract at an address."""

    default_code = "wrong-chain"


class ContractRefused(ChainError):
    """A call or transaction reverted; ``details`` has the custom error's name and arguments."""

    default_code = "contract-refused"


class CoordinatorError(FolkmootError):
    """The coordinator can't be reached, or answered with a problem."""

    default_code = "coordinator"


class DatabaseError(FolkmootError):
    """The database can't be used now, or has another schema than this release."""

    default_code = "database"


class StoreError(FolkmootError):
    """The artifact store is unavailable now. Unlike `ArtifactError`, it says nothing about a file. Try again later."""

    default_code = "store-failed"


class LocalError(FolkmootError):
    """A local program can't be started."""

    default_code = "local"


class AuditFailure(FolkmootError):
    """The audit found something that does not match; ``details`` names it."""

    default_code = "audit-mismatch"
