# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC to Ethereum endpoints, without web3, so that it can travel in the Flower App Bundle.

One endpoint (`client`), or several that must agree (`quorum`). Knows no contract.
"""
