# SPDX-License-Identifier: Apache-2.0
"""What the contracts record, read without web3: the deployment, the packaged ABIs, events, custom errors.

Sends nothing. `folkmoot.chain` sends.
"""
