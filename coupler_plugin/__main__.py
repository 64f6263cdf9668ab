# SPDX-License-Identifier: Apache-2.0
"""`python -m coupler_plugin` is the same as the command `coupler-plugin`."""

from coupler_plugin.cli import main

main()
