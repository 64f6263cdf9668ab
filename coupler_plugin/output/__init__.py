# SPDX-License-Identifier: Apache-2.0
"""What a run writes while it steps: histories and recorded cubes."""
