# SPDX-License-Identifier: Apache-2.0
"""Rebuilding a coordinator from the chain and public files.

`files` gets and checks them, `rows` writes the database, `restore` is the order of it all.
"""
