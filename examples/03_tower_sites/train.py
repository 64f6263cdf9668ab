# SPDX-License-Identifier: Apache-2.0
"""Train the emulator of this example: carbon_flux without four of its towers, so that these are unseen by it.

python train.py [--data FOLDER]

The four are the first of the six folds on which torchscript_models/zoo/carbon_flux.pt is judged; the file in the zoo is
trained on all towers, and says nothing about unseen ones at any of them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from torchscript_models import metrics
from torchscript_models.carbon_flux.recipe import DAILY, CarbonFluxRecipe
from torchscript_models.data import find_data
from torchscript_models.export import export
from torchscript_models.recipe import EMULATOR
from torchscript_models.splits import check_disjoint, folds
from torchscript_models.watch import Watch

HERE = Path(__file__).resolve().parent
FOLD = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the observations; default: ../shared/data")
    torch.set_num_threads(1)
    recipe = CarbonFluxRecipe(find_data(parser.parse_args().data))
    settings = recipe.settings
    fold = folds(recipe.places, settings.n_folds, settings.seed)
    unseen, train = list(fold.index[fold == FOLD]), list(fold.index[fold != FOLD])
    check_disjoint(recipe.places, train, unseen)
    network = recipe.fit(train, replace(settings, n_folds=settings.n_folds - 1), Watch())

    table = recipe.observed(DAILY, unseen)
    for method, values in {
        EMULATOR: recipe.predict(network, DAILY, unseen),
        **recipe.baselines(DAILY, train, unseen),
    }.items():
        table[[f"{target}:{method}" for target in recipe.targets]] = values
    towers = [site for site in unseen if site in set(table["site"])]
    recipe.places = recipe.places.loc[train]
    manifest = recipe.manifest(settings, recipe.scores({DAILY: table}))
    without = f"carbon_flux, trained without the towers {', '.join(towers)} and all sites of their fold."
    script = {"script": "python examples/03_tower_sites/train.py"}
    about = {"name": "carbon_flux_unseen", "description": f"{without} {manifest.description}"}
    manifest = manifest.model_copy(update={**about, "training": {**manifest.training, **script}})
    path = HERE / "carbon_flux_unseen.pt"
    export(network, manifest, path)
    for target in recipe.targets:
        print(metrics.site_scores(table, target, f"{target}:{EMULATOR}"))
    print(path)


if __name__ == "__main__":
    main()
