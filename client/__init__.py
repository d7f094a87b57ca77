# SPDX-License-Identifier: Apache-2.0
"""The contributor's side: the ClientApp, its tasks, the signer agent and the node."""
