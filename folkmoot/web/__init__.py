# SPDX-License-Identifier: Apache-2.0
"""HTML pages and SVG charts from untrusted values, without scripts."""
