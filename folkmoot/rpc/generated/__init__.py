# SPDX-License-Identifier: Apache-2.0
"""What programs write from the contracts; do not edit."""
