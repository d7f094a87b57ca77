# SPDX-License-Identifier: Apache-2.0
"""Clients of the contracts. `rpc` needs no web3 and travels in the Flower App Bundle; the other modules may use it."""
