# SPDX-License-Identifier: Apache-2.0
"""The error that all readers of training data raise."""


class DataError(Exception):
    """The observations are missing or not as documented."""
