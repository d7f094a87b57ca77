# SPDX-License-Identifier: Apache-2.0
"""The protocol's formats and arithmetic, exact and pure (docs/protocol.md sections 3 to 10).

Integers, bytes and hashes: the same input gives the same output on every machine. All of it travels in the Flower App
Bundle. Imports NumPy and the Ethereum hash and signature libraries, and nothing that reaches a network, a chain or
Flower. Files are read and written by other rooms.
"""
