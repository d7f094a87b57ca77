# SPDX-License-Identifier: Apache-2.0
"""A plain Flower app for PyTorch. Nothing in it knows Folkmoot."""
