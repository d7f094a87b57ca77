# SPDX-License-Identifier: Apache-2.0
"""Clients that send to the contracts, with web3: calls, transactions that survive a crash, deployment, votes.

Reading is in `folkmoot.ledger`, which needs no web3.
"""
