# SPDX-License-Identifier: Apache-2.0
"""Folkmoot: people who do not trust each other train one model together, and anyone can check all of it.

Import what you need from its modules; this one imports nothing, so that nodes start fast.
"""
