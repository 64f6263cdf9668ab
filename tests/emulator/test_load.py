# SPDX-License-Identifier: Apache-2.0
"""Reading emulator files."""

from __future__ import annotations

import hashlib
import struct
import warnings
from pathlib import Path

import pytest
import torch
from refusal import refused
from small_emulators import Affine, field, write
from torch import nn

from coupler_plugin import Status
from coupler_plugin.emulator.file import last_line
from coupler_plugin.emulator.load import load
from coupler_plugin.emulator.manifest import Manifest, save


class DropHalf(nn.Module):
    """Differs between training and use."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(x)


def write_affine(path: Path) -> Path:
    return write(path, Affine([[2.0]], 1.0), [field("tas", "K")], [field("lai", "1")])


def test_loaded_module_computes(tmp_path: Path) -> None:
    emulator = load(write_affine(tmp_path / "a.pt"))
    assert emulator.forward(torch.tensor([[3.0]])).item() == 7.0
    assert emulator.manifest.name == "a"


def test_hash_is_that_of_the_file(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "a.pt")
    assert load(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_file_with_another_hash_is_refused_with_both_and_the_remedy(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "a.pt")
    found = load(path).sha256
    assert load(path, expected=found).sha256 == found
    with refused(Status.MODEL, "a.pt", found[:12], "0123456789ab", f"sha256: {found}"):
        load(path, expected="0123456789ab" + 52 * "0")


def test_module_saved_in_training_is_used_as_trained(tmp_path: Path) -> None:
    manifest = Manifest.model_validate(
        {
            "name": "drop", "version": "1", "description": "", "every": "1d",
            "inputs": [field("tas", "K")], "outputs": [field("lai", "1")],
        }
    )  # fmt: skip
    save(torch.jit.script(DropHalf().train()), manifest, tmp_path / "drop.pt")
    ones = torch.ones(64, 1)
    assert torch.equal(load(tmp_path / "drop.pt").forward(ones), ones)


def test_module_saved_frozen_is_loaded(tmp_path: Path) -> None:
    manifest = load(write_affine(tmp_path / "a.pt")).manifest
    save(torch.jit.freeze(torch.jit.script(Affine([[2.0]], 1.0).eval())), manifest, tmp_path / "frozen.pt")
    assert load(tmp_path / "frozen.pt").forward(torch.tensor([[3.0]])).item() == 7.0


@pytest.mark.filterwarnings("error")
def test_deprecation_of_torchscript_does_not_make_a_file_unreadable(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_affine(tmp_path / "a.pt")
    assert load(path).forward(torch.tensor([[3.0]])).item() == 7.0


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with refused(Status.MODEL, "nowhere.pt", "No such file"):
        load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half a zip"])
def test_file_that_is_no_torchscript_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with refused(Status.MODEL, "x.pt", "not a TorchScript file", "torch.jit.save"):
        load(tmp_path / "x.pt")


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "a.pt")
    path.write_bytes(path.read_bytes()[:-200])
    with refused(Status.MODEL, "a.pt", "not a TorchScript file"):
        load(path)


def test_weights_with_a_changed_bit_are_refused(tmp_path: Path) -> None:
    path = write_affine(tmp_path / "a.pt")
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 2.0))] ^= 1  # torch would load it
    path.write_bytes(data)
    with refused(Status.MODEL, "a.pt", "is damaged", "data/", "copy it again"):
        load(path)


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    torch.save(Affine([[1.0]]).state_dict(), tmp_path / "weights.pt")
    with refused(Status.MODEL, "weights.pt", "not a TorchScript file"):
        load(tmp_path / "weights.pt")


def test_file_without_a_manifest_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Affine([[1.0]])), tmp_path / "bare.pt")
    with refused(Status.MODEL, "bare.pt", "no manifest", "manifest.save"):
        load(tmp_path / "bare.pt")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("Traceback\n  at line 3\nError: no memory. Take less.\n"), "Error: no memory. Take less"),
        (ValueError("cannot open '/data/v. 2/x.pt'"), "cannot open '/data/v. 2/x.pt'"),
        (AssertionError(), "AssertionError"),
        (RuntimeError("one\r\ntwo\r\n"), "two"),
    ],
)  # fmt: skip
def test_last_line_of_an_error_is_its_cause(error: Exception, said: str) -> None:
    assert last_line(error) == said
