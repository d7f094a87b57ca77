# SPDX-License-Identifier: Apache-2.0
"""The HTTP interface. Reads the database and the chain; decides nothing but who may write, and how much."""
