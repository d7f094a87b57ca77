# SPDX-License-Identifier: Apache-2.0
"""Copying a federation's public files: `commitments` reads on the chain which ones there are, `copying` gets them."""
