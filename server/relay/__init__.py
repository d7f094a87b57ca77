# SPDX-License-Identifier: Apache-2.0
"""Flower's side of a run: build the app bundle, start Flower's programs, keep a run going, sign reports for `/v1`.

Knows nothing of the coordinator's inside: it speaks to `/v1` like everybody else.
"""
