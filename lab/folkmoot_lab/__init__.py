# SPDX-License-Identifier: Apache-2.0
"""The laboratory: what shows and measures Folkmoot, and lies to it. The product never imports it."""
