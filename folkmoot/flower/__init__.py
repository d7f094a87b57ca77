# SPDX-License-Identifier: Apache-2.0
"""What anchors an ordinary Flower app: a mod for its ClientApp and a strategy for its ServerApp."""
