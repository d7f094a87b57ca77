# SPDX-License-Identifier: Apache-2.0
"""One module a change of the schema, oldest first by number."""
