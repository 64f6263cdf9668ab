# SPDX-License-Identifier: Apache-2.0
"""What all trainings share: going on after a stop, several processes, curves, energy, three forms of a file, a card."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

pytest.importorskip("pandas", reason="training needs the libraries of the extra 'train'")

from small_training import SETTINGS, fit, loss

from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.manifest import Manifest
from torchscript_models.export import export, exported_graph, write_card
from torchscript_models.fitting import fit_member
from torchscript_models.watch import Checkpoints, Watch, tracked


def same_weights(left: nn.Module, right: nn.Module) -> bool:
    return all(torch.equal(a, right.state_dict()[name]) for name, a in left.state_dict().items())


def test_training_lowers_the_loss_and_keeps_the_best_epoch() -> None:
    member, history = fit(Watch())
    assert min(history) < 0.8 * history[0]
    assert not member.training


def test_a_stopped_training_goes_on_with_the_bits_of_one_that_was_not(tmp_path: Path) -> None:
    whole, history = fit(Watch())
    advances: list[int] = []

    def stop() -> None:
        advances.append(1)
        if len(advances) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(Watch(stop, checkpoints=Checkpoints(tmp_path, resume=False)))
    epochs: list[int] = []
    watch = Watch(log=lambda fit, epoch, values: epochs.append(epoch), checkpoints=Checkpoints(tmp_path, resume=True))
    member, resumed = fit(watch)
    assert epochs == [4, 5, 6], "three whole epochs are not repeated"
    assert resumed == history
    assert same_weights(member, whole)


def test_checkpoints_of_other_settings_and_of_a_new_training_are_not_gone_on_from(tmp_path: Path) -> None:
    fit(Watch(checkpoints=Checkpoints(tmp_path, resume=False)))
    for settings, resume in ((replace(SETTINGS, seed=2), True), (SETTINGS, False)):
        epochs: list[int] = []
        fit(Watch(log=lambda f, e, v, to=epochs: to.append(e), checkpoints=Checkpoints(tmp_path, resume)), settings)
        assert epochs[0] == 1


@pytest.mark.parametrize("where", ["held out", "trained on"])
def test_a_loss_that_is_no_number_is_an_error_and_no_untrained_network(where: str) -> None:
    member = nn.Linear(1, 1)
    good, bad = (torch.ones(4, 1), torch.ones(4, 1)), (torch.full((4, 1), torch.nan), torch.ones(4, 1))
    held_out, batch = (bad, good) if where == "held out" else (good, bad)
    epoch = 0 if where == "held out" else 1
    with pytest.raises(ValueError, match=f"held-out loss of 'x' after {epoch} epochs is nan"):
        fit_member(member, lambda: [batch], loss, held_out, SETTINGS, Watch(), name="x")


def in_two_processes(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """Run small_training.py under torchrun; return what each process has written."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here.parents[1]}:{here}"}
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", str(here / "small_training.py")]
    command += [str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_stopped_processes_go_on_with_the_bits_of_two_that_were_not(tmp_path: Path) -> None:
    """The noise of all processes goes on, though the checkpoint is that of the first."""
    folders = [tmp_path / name for name in ("whole", "stopped")]
    for folder in folders:
        folder.mkdir()
    (whole, _), (stopped, _) = (in_two_processes(folder, folder.name) for folder in folders)
    assert stopped["history"] == whole["history"]
    for name, weights in whole["weights"].items():
        assert torch.equal(weights, stopped["weights"][name])


def test_two_processes_average_their_gradients(tmp_path: Path) -> None:
    """Two processes on four batches each end with the same weights, and learn."""
    first, second = in_two_processes(tmp_path)
    assert {(tmp_path / f"{rank}.count").read_text() for rank in range(2)} == {"2"}
    assert first["history"] == second["history"]
    assert min(first["history"]) < 0.9 * first["history"][0]
    alone, _ = fit(Watch())
    for name, weights in first["weights"].items():
        assert torch.equal(weights, second["weights"][name])
        assert not torch.equal(weights, alone.state_dict()[name]), "half as many steps, of twice as many rows"
    assert first["sum"] == second["sum"] == 3.0
    if "footprint" in first:  # CPU and memory of both: each process alone measures its own
        for key in ("energy_kwh", "co2_eq_g"):
            assert first["footprint"][key] == second["footprint"][key]
    assert first["grid_history"] == second["grid_history"]
    assert min(first["grid_history"]) < first["grid_history"][0]
    for name, weights in first["grid_weights"].items():
        assert torch.equal(weights, second["grid_weights"][name]), "a recipe of grids"


def test_curves_are_written_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="curves need the libraries of the extra 'train'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with tracked("tensorboard", "run", {"seed": 1}, tmp_path) as log:
        _, history = fit(Watch(log=log))
    curves = EventAccumulator(str(tmp_path / "tensorboard" / "run")).Reload()
    points = curves.Scalars("member/held_out_loss")
    assert [point.step for point in points] == list(range(1, 7))
    assert [point.value for point in points] == pytest.approx(history[1:], rel=1e-6)


def test_curves_are_written_to_the_files_of_mlflow(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="curves need the libraries of the extra 'train'")
    with tracked("mlflow", "run", {"seed": 1}, tmp_path) as log:
        _, history = fit(Watch(log=log))
    (run,) = mlflow.MlflowClient((tmp_path / "mlflow").as_uri()).search_runs(
        [mlflow.get_experiment_by_name("torchscript_models").experiment_id]
    )
    assert run.data.params == {"seed": "1"}
    assert run.data.metrics["member/held_out_loss"] == history[-1]


# ---- the files ---------------------------------------------------------------------------------------------------


class Bucket(nn.Module):
    """A state that fills and leaks: inputs, static and state go in, outputs and state come out."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(
        self, inputs: torch.Tensor, static: torch.Tensor, state: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        flux = torch.sigmoid(self.linear(torch.cat([inputs, static], dim=1)))
        state = state * flux + inputs[:, :1]
        return torch.cat([flux, state], dim=1), state


def bucket_manifest() -> Manifest:
    variable = {"units": "1", "valid_range": (0.0, 1.0)}
    own = {"rmse": 0.5, "r2": 0.9, "site_median": {"rmse": 0.4}, "baselines": {"persistence": {"rmse": 1.0, "r2": 0.1}}}
    return Manifest(
        name="bucket",
        version="0.1.0",
        description="A leaking bucket.",
        source="own",
        license="Apache-2.0",
        every="1d",
        inputs=[{"name": "pr", **variable}, {"name": "tas", **variable}],
        static=[{"name": "orog", **variable}],
        state=[{"name": "water", "size": 1}],
        outputs=[{"name": "mrro", **variable}, {"name": "mrso", **variable}],
        scores={"held_out": {"sites": 3, "mrro": own}},
        training={"data": "none"},
    )


def test_three_forms_are_written_and_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = Bucket(), tmp_path / "bucket.pt"
    export(network, bucket_manifest(), path)
    arguments = [torch.rand(7, n, generator=torch.Generator().manual_seed(n)) for n in (2, 1, 1)]
    again = Bucket()
    again.load_state_dict(torch.load(tmp_path / "bucket.pth", weights_only=True))
    graph = torch.export.load(tmp_path / "bucket.pt2").module()
    with torch.no_grad():
        expected = network(*arguments)
        for form in (load(path).forward, graph, again):
            for found, wanted in zip(form(*arguments), expected, strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    assert b"/torch" not in (tmp_path / "bucket.pt2").read_bytes(), "it names no file of the machine that made it"


def test_a_script_that_departs_is_not_written(tmp_path: Path) -> None:
    class Different(Bucket):
        def forward(
            self, inputs: torch.Tensor, static: torch.Tensor, state: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            water = state * 2.0 if torch.jit.is_scripting() else state
            return torch.cat([inputs[:, :1], water], dim=1), water

    with pytest.raises(ValueError, match="The script of 'bucket' departs from the network"):
        export(Different(), bucket_manifest(), tmp_path / "bucket.pt")
    assert not list(tmp_path.iterdir())


def test_a_graph_that_departs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Bucket()
    monkeypatch.setattr(
        "torchscript_models.export.exported_graph", lambda _, arguments: exported_graph(other, arguments)
    )
    with pytest.raises(ValueError, match="The graph of 'bucket' departs from the network"):
        export(Bucket(), bucket_manifest(), tmp_path / "bucket.pt")
    assert not list(tmp_path.iterdir())


def test_the_energy_of_a_training_is_measured_in_grams_of_co2() -> None:
    pytest.importorskip("codecarbon", reason="the measurement needs the libraries of the extra 'train'")
    from torchscript_models.footprint import measured

    footprints = {}
    for country in (None, "NOR"):
        with measured(country) as footprint:
            fit(Watch())
        footprints[country] = footprint
        assert footprint["energy_kwh"] > 0
    world, norway = footprints[None], footprints["NOR"]
    assert world["co2_eq_g"] == pytest.approx(475.0 * world["energy_kwh"], rel=0.02)
    assert norway["location"] == "Norway"
    assert norway["co2_eq_g"] / norway["energy_kwh"] < 100.0


def test_the_card_has_the_metadata_of_hugging_face_and_the_scores(tmp_path: Path) -> None:
    footprint = {"energy_kwh": 0.02, "co2_eq_g": 9.5, "seconds": 600, "location": "Norway", "hardware": "CPU (x)"}
    manifest = bucket_manifest()
    footprint["method"] = "CodeCarbon 3.3.2, offline"
    manifest = manifest.model_copy(update={"training": manifest.training | {"footprint": footprint}})
    write_card(manifest, tmp_path / "bucket.pt")
    text = (tmp_path / "bucket.md").read_text()
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["co2_eq_emissions"]["emissions"] == 9.5
    assert metadata["co2_eq_emissions"]["geographical_location"] == "Norway"
    result = metadata["model-index"][0]["results"][0]
    assert (result["task"]["type"], result["dataset"]) == ("regression", {"type": "custom", "name": "none"})
    assert result["metrics"] == [
        {"type": "rmse", "value": 0.5},
        {"type": "r2", "value": 0.9},
    ]
    assert "| mrro | **this emulator** | 0.5 | 0.9 |\n| mrro | persistence | 1 | 0.1 |" in text
    assert "docs/emulators/bucket.md" in text
