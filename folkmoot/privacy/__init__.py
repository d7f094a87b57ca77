# SPDX-License-Identifier: Apache-2.0
"""Record-level differential privacy of a contributor's training: settings, mechanism, accountant.

What a contributor publishes changes little if one record is added to its data or removed from them: the gradient of
each record is clipped, the sum gets discrete Gaussian noise from a secret stream, and all of it between the clip and
the noise is integer arithmetic. Imports NumPy, and torch where a model is trained. Knows no task, file or chain.
"""

from __future__ import annotations

from folkmoot.privacy.accountant import delta_of, epsilon_of, noise_for
from folkmoot.privacy.settings import PrivacySettings, check_matches_policy

__all__ = ["PrivacySettings", "check_matches_policy", "delta_of", "epsilon_of", "noise_for"]
