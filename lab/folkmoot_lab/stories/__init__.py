# SPDX-License-Identifier: Apache-2.0
"""What `folkmoot demo` shows: training, lies, attacks with money, time and several accounts."""
