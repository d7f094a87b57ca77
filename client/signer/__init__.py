# SPDX-License-Identifier: Apache-2.0
"""The signer: it has the key, checks what it is asked to sign, and remembers what it signed."""
