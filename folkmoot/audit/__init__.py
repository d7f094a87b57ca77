# SPDX-License-Identifier: Apache-2.0
"""The audit: checks the whole history of a federation from a chain and its public files (docs/protocol.md section 13).

`audit.audit` runs it. `history` reads the chain, `files` the artifacts; each other module is one concern, a function of
these records that raises AuditFailure. None of them believes what it is given.
"""
