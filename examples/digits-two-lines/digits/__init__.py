# SPDX-License-Identifier: Apache-2.0
"""The Flower app of examples/digits-pytorch, anchored by one line in each half."""
