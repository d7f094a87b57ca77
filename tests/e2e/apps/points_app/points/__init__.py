# SPDX-License-Identifier: Apache-2.0
"""An ordinary Flower app on lists of NumPy arrays, with three ServerApps, that knows nothing of Folkmoot."""
