# SPDX-License-Identifier: Apache-2.0
"""One module a subject, each with a `router`."""
