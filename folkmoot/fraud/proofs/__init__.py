# SPDX-License-Identifier: Apache-2.0
"""Find errors in an anchor, the leaf that proves an error, and the call data of the proof.

These are pure functions of records and files, without endpoint, account or clock.
"""
