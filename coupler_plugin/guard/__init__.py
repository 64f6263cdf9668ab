# SPDX-License-Identifier: Apache-2.0
"""Guards: what stands between the host, an emulator and its answers, so that no nonsense passes in silence."""
