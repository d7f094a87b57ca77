# SPDX-License-Identifier: Apache-2.0
"""Functions of bytes: what is wrong with an anchor, the one leaf that shows it, and the call data of the proof.

Knows no endpoint, no account and no clock.
"""
