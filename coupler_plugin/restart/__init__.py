# SPDX-License-Identifier: Apache-2.0
"""What a run remembers, so that two parts give the bits of one."""
