# SPDX-License-Identifier: Apache-2.0
"""The emulators that come with the plugin: readable PyTorch, seeded training, honest scores, TorchScript files.

`python -m torchscript_models train NAME` makes `zoo/NAME.pt`; `evaluate NAME` scores the recipe on sites that no
model has seen. `coupler_plugin` never imports this package: it reads the files.
"""
