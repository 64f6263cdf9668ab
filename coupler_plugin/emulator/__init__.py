# SPDX-License-Identifier: Apache-2.0
"""Emulators: their files, and how columns run through them."""
