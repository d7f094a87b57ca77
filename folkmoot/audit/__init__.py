# SPDX-License-Identifier: Apache-2.0
"""Audit the whole history of a federation from a chain and its public files (docs/protocol.md section 13).

`audit.audit` runs it. `history` reads the chain, `files` reads the artifacts. Each other module checks one subject in
these records and raises AuditFailure. No input is trusted.
"""
