# SPDX-License-Identifier: Apache-2.0
"""The codes of all problems: HTTP status and meaning. One list, which the OpenAPI document shows. It knows no error."""

from __future__ import annotations

from folkmoot.protocol.verdict import Reason

CODES: dict[str, tuple[int, str]] = {
    # Of updates that are refused
    **{
        str(reason): (reason.status, f"{reason.refusal[0].upper()}{reason.refusal[1:]}.")
        for reason in Reason
        if reason.refusal
    },
    # What was asked
    "bad-request": (400, "This is not HTTP, or the body can't be read."),
    "head-too-large": (431, "The head of the request is larger than 16 KiB."),
    "incomplete": (400, "The connection ended before the request was complete."),
    "unsupported-coding": (415, "The body has a Content-Encoding that is not taken; gzip is."),
    "invalid-coding": (
        400,
        "The body is not of the Content-Encoding that it names, or too long.",
    ),
    "wrong-offset": (
        409,
        "The rest of the update does not begin at `offset`, where the part that arrived ends.",
    ),
    "superseded": (409, "A later upload of the same account has taken over."),
    "too-slow": (408, "The body came too slowly."),
    "too-large": (413, "The body is too large."),
    "unknown-path": (404, "There is nothing at this path."),
    "method-not-allowed": (405, "The path has no such method; `Allow` says which it has."),
    "range-not-satisfiable": (416, "The file has no such range."),
    "http-error": (400, "Another error of HTTP; the status says which."),
    "invalid-request": (422, "A parameter or the body is not what the document says; `errors` says where."),
    "invalid-cursor": (422, "The cursor is of no page of this list."),
    "invalid-address": (422, "Not an Ethereum address."),
    "invalid-input": (422, "A part of the request is wrong; `detail` says which."),
    "update-refused": (422, "The update was refused; `detail` says why."),
    "invalid-commitment": (422, "The header Folkmoot-Commitment can't be read."),
    "invalid-upload": (422, "The header Folkmoot-Upload can't be read."),
    "invalid-report": (422, "The body is not a report."),
    "invalid-measurement": (422, "The body is not a site's measurement, or no site can have made it."),
    "wrong-measurement": (422, "The measurement is of another version, or of another state of it."),
    "invalid-wish": (422, "The body is not a wish to delete updates."),
    # Not found
    "unknown-contributor": (404, "The account never staked and never contributed."),
    "unknown-policy": (404, "There is no such policy."),
    "unknown-proposal": (404, "There is no such proposal."),
    "unknown-run": (404, "There is no such run."),
    "unknown-update": (404, "The account has no update in this round."),
    "unknown-version": (404, "There is no such version of the model."),
    "no-active-version": (404, "No vote has made a version active yet, or all are recalled."),
    "not-measured": (404, "No site has measured this version."),
    "no-report": (404, "The operator has not reported on the nodes of this round."),
    "no-open-round": (404, "No round takes updates now."),
    "artifact-unknown": (404, "There is no such file."),
    "artifact-embargoed": (
        404,
        "The update is not public before the commit window is over; `publicFrom` says when.",
    ),
    "expired": (410, "The update was deleted by rule; `reason` says why."),
    "spare-state": (
        410,
        "The state was deleted by rule; an earlier one and the means since then lead to it.",
    ),
    "version-recalled": (410, "A vote recalled the version; `?recalled=true` gives it all the same."),
    # Who may not, or not now
    "not-authorised": (403, "The signature is not of somebody who may do this."),
    "no-stake": (403, "The account has no stake, or less than it needs for this."),
    "signature-expired": (403, "The deadline of the signature is over, or too far away."),
    "signature-used": (403, "The signature started a run before; `run` says which."),
    "run-in-progress": (409, "Another run is under way; `run` says which."),
    "bond-too-low": (409, "The coordinator has too little at stake to open rounds."),
    "not-coordinator": (409, "The ledger has another coordinator."),
    "round-void": (409, "The round was cancelled or slashed."),
    "round-not-anchored": (409, "The round has no verdicts yet."),
    "evidence-too-large": (422, "The evidence is too large to be gathered here; `detail` says the limit."),
    "round-not-probed": (409, "The round waits for no canary report."),
    "round-not-withheld": (409, "The round is not withheld."),
    "report-outdated": (
        409,
        "There is a newer report on the round; `deadline` is that of its signature.",
    ),
    "measurement-exists": (409, "The site has committed another table of this version."),
    "commitments-closed": (409, "Commitments to tables of this version are not taken any more."),
    "commitments-open": (409, "Commitments to tables of this version are still taken: no table is yet."),
    "other-closing": (409, "The closing time is not that of the first commitment, or out of its range."),
    "not-committed": (409, "The table is not the one that the site committed, or names another list."),
    "canary-exists": (409, "Another canary report on the round was taken."),
    "wrong-report": (422, "The report is on another model, or by another measure."),
    # Too much
    "rate-limited": (429, "There were too many requests from this address."),
    "account-rate-limited": (429, "There was too much with this account's signature."),
    "too-many": (429, "There is too much of this client's under way."),
    "too-many-connections": (429, "There are too many connections."),
    "busy": (503, "There is too much under way."),
    # Ours: tell the operator the `id`
    "defect": (500, "A defect of the coordinator."),
    "error": (500, "A failure without a name of its own."),
    "artifact": (500, "A file can't be used."),
    "artifact-missing": (404, "The store has lost a file. A mirror may have it."),
    "artifact-damaged": (
        500,
        "A file of the store is damaged. Its bytes are not handed out; a mirror may have it.",
    ),
    "wrong-state": (500, "The database names a state that is not the one that was anchored."),
    "chain": (503, "The chain can't be used."),
    "rpc-unreachable": (503, "The chain can't be reached."),
    "rpc-error": (503, "The chain's node answered with an error."),
    "rpc-no-quorum": (503, "No majority of the chain's nodes agrees."),
    "wrong-chain": (503, "The chain's node is on another chain."),
    "wrong-contract": (503, "A contract answers otherwise than it should."),
    "contract-refused": (502, "The chain refused what the coordinator asked of it."),
    "database": (503, "The database can't be used."),
    "database-unreachable": (503, "The database can't be reached."),
    "database-locked": (503, "The database is locked by another process."),
    "database-full": (503, "The database has no room left."),
    "row-unreadable": (
        503,
        "A cell of the database can't be read; the answer names row, column and remedy.",
    ),
    "store-failed": (503, "The store can't be used."),
    "store-full": (503, "The store has no room left."),
    "store-checksum": (503, "The store gave other bytes than it was given."),
}
"""HTTP status of each code, and what it says."""
