# SPDX-License-Identifier: Apache-2.0
"""The codes of all problems and what they say: one list, which the OpenAPI document shows. It knows no error."""

from __future__ import annotations

from folkmoot.protocol.verdict import Reason

REFUSALS = {
    Reason.ROUND_UNKNOWN: "There is no such round.",
    Reason.ROUND_CLOSED: "The commit window of the round is over.",
    Reason.WRONG_BASE: "The update is for another base than the round's.",
    Reason.WRONG_SIZE: "The file of the update has not the size that the model gives it.",
    Reason.INVALID_ENCODING: "A byte of the update stands for nothing.",
    Reason.WRONG_ROOT: "The update's tree has another root than was committed to.",
    Reason.WRONG_NORM: "The update's sum of squares is not the one that was committed to.",
    Reason.NORM_TOO_LARGE: "The update's sum of squares is above the policy's cap.",
    Reason.INVALID_SIGNATURE: "The signature is not of whom it should be of.",
    Reason.STAKE_TOO_LOW: "The contributor's stake is below the policy's minimum.",
    Reason.NOT_ENROLLED: "The contributor was not enrolled with the minimum stake in time for this round.",
    Reason.NO_PLACE: "More stake is enrolled than the round has places, and the contributor was not drawn.",
    Reason.DUPLICATE: "The contributor has another commitment in this round.",
    Reason.ROUND_FULL: "The round has as many commitments as its policy takes.",
}
"""Of updates that are refused: reason codes of docs/protocol.md section 7."""

CODES: dict[str, str] = {
    **{str(reason): said for reason, said in REFUSALS.items()},
    # What was asked
    "bad-request": "This is no HTTP, or no body that can be read.",
    "head-too-large": "The head of the request is larger than 16 KiB.",
    "incomplete": "The connection ended before the request was complete.",
    "too-slow": "The body came too slowly.",
    "too-large": "The body is too large.",
    "unknown-path": "There is nothing at this path.",
    "method-not-allowed": "The path has no such method; `Allow` says which it has.",
    "range-not-satisfiable": "The file has no such range.",
    "http-error": "Another error of HTTP; the status says which.",
    "invalid-request": "A parameter or the body is not what the document says; `errors` says where.",
    "invalid-cursor": "The cursor is of no page of this list.",
    "invalid-address": "This is no address.",
    "invalid-input": "A part of the request is wrong; `detail` says which.",
    "update-refused": "The update was refused; `detail` says why.",
    "invalid-commitment": "The header Folkmoot-Commitment can't be read.",
    "invalid-upload": "The header Folkmoot-Upload can't be read.",
    "invalid-report": "This is no report.",
    # What there is not
    "unknown-contributor": "The account never staked and never contributed.",
    "unknown-policy": "There is no such policy.",
    "unknown-proposal": "There is no such proposal.",
    "unknown-run": "There is no such run.",
    "unknown-update": "The account has no update in this round.",
    "unknown-version": "There is no such version of the model.",
    "no-active-version": "No vote has made a version active yet.",
    "no-report": "The operator has not reported on the nodes of this round.",
    "no-open-round": "No round takes updates now.",
    "artifact-unknown": "There is no such file.",
    "artifact-embargoed": "The update is not public before the commit window is over; `publicFrom` says when.",
    # Who may not, or not now
    "not-authorised": "The signature is not of somebody who may do this.",
    "no-stake": "The account has no stake.",
    "signature-expired": "The deadline of the signature is over, or too far away.",
    "signature-used": "The signature started a run before; `run` says which.",
    "run-in-progress": "Another run is under way; `run` says which.",
    "bond-too-low": "The coordinator has too little at stake to open rounds.",
    "not-coordinator": "The ledger has another coordinator.",
    "round-void": "The round was cancelled or slashed.",
    "round-not-anchored": "The round has no verdicts yet.",
    "round-not-probed": "The round waits for no canary report.",
    "round-not-withheld": "The round is not withheld.",
    "report-outdated": "The coordinator already has a newer report on the round; `deadline` is that of its signature.",
    "canary-exists": "Another canary report on the round was taken.",
    "wrong-report": "The report is on another model, or by another measure.",
    # Too much
    "rate-limited": "There were too many requests from this address.",
    "account-rate-limited": "There was too much with this account's signature.",
    "too-many": "There is too much of this client's under way.",
    "too-many-connections": "There are too many connections.",
    "busy": "There is too much under way.",
    # Ours: tell the operator the `id`
    "defect": "A defect of the coordinator.",
    "error": "A failure without a name of its own.",
    "artifact": "A file can't be used.",
    "artifact-damaged": "A file of the store is damaged.",
    "chain": "The chain can't be used.",
    "rpc-unreachable": "The chain can't be reached.",
    "rpc-error": "The chain's node answered with an error.",
    "rpc-no-quorum": "No majority of the chain's nodes agrees.",
    "wrong-chain": "The chain's node is on another chain.",
    "wrong-contract": "A contract answers otherwise than it should.",
    "contract-refused": "The chain refused what the coordinator asked of it.",
    "database": "The database can't be used.",
    "database-unreachable": "The database can't be reached.",
    "database-locked": "The database is locked by another process.",
    "database-full": "The database has no room left.",
    "store-failed": "The store can't be used.",
    "store-full": "The store has no room left.",
    "store-checksum": "The store gave other bytes than it was given.",
}
"""What each code says."""
