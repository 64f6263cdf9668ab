# SPDX-License-Identifier: Apache-2.0
"""Emulators as native code: what is made, what is compared, and where it is refused."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from refusal import refused
from small_emulators import field, write, write_mlp
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from coupler_plugin import Coupler, Status
from coupler_plugin.cli import commands
from coupler_plugin.emulator import compiled, compiling, layers, products, torchscript
from coupler_plugin.emulator.blocks import Blocks
from coupler_plugin.emulator.dense import dense
from coupler_plugin.emulator.file import Found
from coupler_plugin.emulator.load import describe, load
from coupler_plugin.emulator.trial import sample_arguments

Couple = Callable[..., Coupler]
BLOCK = 32
FIELDS = ("tas", "hurs", "sfcWind", "lai")

pytestmark = pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")), reason="there is no C++ compiler, which packages are made with"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a small network as a user does, for whom the compiler's layers are the faster ones."""
    return compile_mlp(tmp_path_factory.mktemp("compiled"), lambda *_: None)


@pytest.fixture(scope="module", params=[(0, 0, 0), (1, 1, 1), (1, 4, 4)], ids=str)
def layered(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Compile it where layers by this library, with so many sums beside each other, are the faster ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling, "_build", lambda found, exported, path, settings: path)
        patch.setattr(compiling, "_runner", lambda path, device: None)
        return compile_mlp(tmp_path_factory.mktemp("layered"), lambda *_: list(request.param))


def compile_mlp(folder: Path, sums: Callable[..., list[int] | None]) -> Path:
    """Return the package; what the command said lies beside it."""
    model = write_mlp(folder / "mlp.pt")
    package = model.with_suffix(".pt2")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")  # as for a user with PYTHONWARNINGS=error
        patch.setattr(compiling, "_sums", sums)
        result = CliRunner().invoke(commands, ["compile", str(model), "-o", str(package), "--block", str(BLOCK)])
    assert result.exit_code == 0, result.output
    package.with_suffix(".txt").write_text(result.output)
    return package


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def altered(package: Path, path: Path, **facts: object) -> Path:
    """Write the package anew with other facts about its making."""
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry, json.dumps(json.loads(data) | facts) if entry.filename.endswith("led.json") else data)
    return path


def lai_of(coupler: Coupler) -> np.ndarray:
    rng = np.random.default_rng(1)
    arrays = {name: rng.normal(280.0 if name == "tas" else 5.0, 1.0, 45) for name in FIELDS}
    for name, array in arrays.items():
        coupler.bind(name, array)
    for _ in range(3):
        coupler.step()
    return arrays["lai"]


def test_package_takes_the_place_of_its_original_in_a_coupling_file(made: Path, couple: Couple) -> None:
    original = couple({"model": made.with_suffix(".pt"), "block": BLOCK}, cells=45)
    package = couple({"model": made, "sha256": digest(made), "block": BLOCK}, cells=45)
    expected, found = lai_of(original), lai_of(package)
    (allowed,) = compiled.making_of(describe(made)).differences
    assert np.abs(found - expected).max() <= 2 * allowed.largest + 1e-7
    assert np.ptp(found) > 0
    assert package.emulators[0].block_sizes == (BLOCK, BLOCK)
    assert package.emulators[0].keeps_bits


def test_command_says_what_was_made_and_what_to_write(made: Path) -> None:
    said = made.with_suffix(".txt").read_text()
    assert f"sha256: {digest(made)}" in said
    assert f"block: {BLOCK}" in said
    assert "lai" in said.partition("differences")[2]


def test_package_carries_its_manifest_and_how_it_was_made(made: Path) -> None:
    found, original = describe(made), describe(made.with_suffix(".pt"))
    making = compiled.making_of(found)
    assert found.manifest == original.manifest
    assert making.original_sha256 == original.sha256 == digest(made.with_suffix(".pt"))
    assert (making.block, making.dtype, making.device) == (BLOCK, "float32", "cpu")
    assert making.torch == torch.__version__
    assert 0 <= making.differences[0].relative <= making.tolerance == compiling.TOLERANCE["float32"]


def test_differences_are_those_of_the_answers(made: Path) -> None:
    package, original = load(made, expected=digest(made)), load(made.with_suffix(".pt"))
    making = compiled.making_of(describe(made))
    (sample,) = sample_arguments(package.manifest, making.rows)
    blocks = torch.split(sample, BLOCK)
    found, expected = (torch.cat([file.forward(block) for block in blocks]) for file in (package, original))
    assert (found - expected).abs().max().item() == pytest.approx(making.differences[0].largest, abs=1e-7)


def test_column_has_the_same_bits_wherever_it_runs(made: Path) -> None:
    package = load(made, expected=digest(made))
    (columns,) = sample_arguments(package.manifest, 3 * BLOCK)
    answers = []
    for cuts in ([0, 96], [0, 5, 50, 96]):
        parts = []
        for begin, end in itertools.pairwise(cuts):
            blocks = Blocks(package, end - begin, BLOCK)
            blocks.inputs[:] = columns[begin:end]
            blocks.run()
            parts.append(blocks.outputs.copy())
        answers.append(np.concatenate(parts))
    np.testing.assert_array_equal(*answers)


def test_threads_share_the_products_of_a_package_and_keep_its_bits(made: Path) -> None:
    package = load(made, expected=digest(made))
    (columns,) = sample_arguments(package.manifest, 5 * BLOCK)
    answers = []
    own = torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            blocks = Blocks(package, len(columns), BLOCK, threads)
            blocks.inputs[:] = columns
            blocks.run()
        finally:
            torch.set_num_threads(own)
        assert blocks.keeps_bits
        answers.append(blocks.outputs.copy())
    np.testing.assert_array_equal(*answers)


def test_inspect_describes_a_package_without_running_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._inductor, "aoti_load_package")
    output = CliRunner().invoke(commands, ["inspect", str(made)]).output
    assert "mlp 1.0.0" in output
    assert f"for blocks of {BLOCK}, float32" in output


# --- refused --------------------------------------------------------------------------------------------------


def test_package_without_its_hash_is_refused(made: Path, couple: Couple) -> None:
    with refused(Status.MODEL, "coupling.yml:2", "is compiled", f"'sha256: {digest(made)}'", "trust"):
        couple({"model": made, "block": BLOCK})


def test_package_with_another_hash_is_refused(made: Path, couple: Couple) -> None:
    with refused(Status.MODEL, "not the emulator file that is asked for", digest(made)[:12], 12 * "0"):
        couple({"model": made, "sha256": 64 * "0", "block": BLOCK})


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"torch": "2.0.0"}, ("with torch 2.0.0", torch.__version__)),
        ({"instructions": ["avx1024"]}, ("instructions", "without avx1024")),
        ({"machine": "riscv128"}, ("riscv128",)),
        ({"device": "cuda"}, ("device 'cuda'", "'cpu'")),
    ],
)
def test_package_of_another_machine_is_refused(
    made: Path, tmp_path: Path, facts: dict[str, object], words: tuple[str, ...]
) -> None:
    other = altered(made, tmp_path / "other.pt2", **facts)
    with refused(Status.MODEL, "other.pt2", "was compiled", *words, "coupler-plugin compile mlp.pt -o other.pt2"):
        load(other, expected=digest(other))


@pytest.mark.parametrize("block", [64, "exact"])
def test_other_block_is_refused(made: Path, couple: Couple, block: int | str) -> None:
    with refused(Status.CONFIG, "coupling.yml:2", f"for blocks of {BLOCK}, not {block}", f"'block: {BLOCK}'"):
        couple({"model": made, "sha256": digest(made), "block": block})


def test_dropout_of_a_package_is_refused(made: Path) -> None:
    with refused(Status.MODEL, "without its dropout", "mlp.pt"):
        load(made, expected=digest(made), dropout=True)


def test_graph_that_was_not_compiled_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.pt2"
    torch.export.save(torch.export.export(nn.Linear(2, 1), (torch.ones(3, 2),)), path)
    with refused(Status.MODEL, "graph.pt2", "not a compiled package", "coupler-plugin compile"):
        load(path, expected=digest(path))


def test_package_that_does_not_say_how_it_was_made_is_refused(made: Path, tmp_path: Path) -> None:
    other = altered(made, tmp_path / "other.pt2", block="large")
    with refused(Status.MODEL, "does not say how it was compiled"):
        load(other, expected=digest(other))


class Branching(nn.Module):
    """What it does is in its inputs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x > 0).all()):
            return x + 1.0
        return x - 1.0


def test_network_that_branches_on_its_values_cannot_be_compiled(tmp_path: Path) -> None:
    model = write(tmp_path / "branching.pt", Branching(), [field("tas", "K")], [field("lai", "1")])
    with refused(Status.MODEL, "branching.pt", "its values decide", "as TorchScript"):
        compiling.compile_emulator(model, tmp_path / "branching.pt2", BLOCK)
    assert not (tmp_path / "branching.pt2").exists()


class Drawing(nn.Module):
    """Answers with noise of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


def test_exporter_that_gives_no_reason_is_named(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch.export, "export", fail)
    with refused(Status.MODEL, "cannot be compiled: AssertionError; "):
        compiling.compile_emulator(made.with_suffix(".pt"), tmp_path / "mlp.pt2", BLOCK)


def test_network_that_draws_random_numbers_cannot_be_compiled(tmp_path: Path) -> None:
    model = write(tmp_path / "drawing.pt", Drawing(), [field("tas", "K")], [field("lai", "1")])
    with refused(Status.MODEL, "drawing.pt", "draws random numbers"):
        compiling.compile_emulator(model, tmp_path / "drawing.pt2", BLOCK)


def test_package_that_answers_otherwise_is_not_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write(tmp_path / "mlp.pt", Twice(), *[[field(name, "1") for name in names] for names in ("abc", "d")])
    monkeypatch.setattr(compiling, "_build", lambda found, exported, path, settings: shutil.copy(made, path))
    with refused(Status.MODEL, "'d' differs", "0.0001 is allowed", "nothing was written", "--tolerance"):
        compiling.compile_emulator(model, tmp_path / "mlp.pt2", BLOCK)
    assert not (tmp_path / "mlp.pt2").exists()


class Twice(nn.Module):
    """Another network than the one that was compiled."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * x[:, :1]


def test_compiler_that_fails_is_named(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no such compiler\nand more")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    with refused(Status.MODEL, "cannot be compiled: no such compiler; ", "g++ or $CXX"):
        compiling.compile_emulator(made.with_suffix(".pt"), tmp_path / "mlp.pt2", BLOCK)


def test_output_of_another_ending_is_refused(made: Path, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "'.pt2'", "mlp.so"):
        compiling.compile_emulator(made.with_suffix(".pt"), tmp_path / "mlp.so", BLOCK)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_that_is_not_there_is_refused(made: Path, tmp_path: Path) -> None:
    with refused(Status.CONFIG, "sees no GPU", "--device cuda"):
        compiling.compile_emulator(made.with_suffix(".pt"), tmp_path / "mlp.pt2", BLOCK, device="cuda")


# --- products -------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Two layers, one without an activation, and something between them that is none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.last = nn.Linear(4, 24), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x / 300.0)))


class Image(Layers):
    """The same behind a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(self.filter(x[:, None])[:, 0])))


def traced(module: nn.Module) -> tuple[torch.fx.GraphModule, torch.Tensor]:
    rows = torch.randn(BLOCK, 4)
    with torch.no_grad():
        return make_fx(torch.jit.script(module.eval()), tracing_mode="real", pre_dispatch=True)(rows), rows


def test_layers_that_are_taken_apart_give_the_same_bits() -> None:
    module = Layers()
    graph, rows = traced(module)
    products.separate(graph)
    targets = [node.target for node in graph.graph.nodes]
    assert targets.count(torch.ops.aten.mm.default) == 2
    assert torch.ops.aten.linear.default not in targets
    with torch.no_grad():
        torch.testing.assert_close(graph(rows), module(rows), rtol=0, atol=0)


def test_layers_beside_convolutions_stay_whole() -> None:
    graph, _ = traced(Image())
    with torch.no_grad():
        assert not products.are_faster_apart(graph)


def test_layers_compile_in_the_way_that_is_not_chosen_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = products.are_faster_apart
    monkeypatch.setattr(products, "are_faster_apart", lambda graph: not chosen(graph))
    monkeypatch.setattr(compiling, "_sums", lambda *_: None)
    model = write(tmp_path / "layers.pt", Layers(), [field("tas", "K", size=4)], [field("lai", "1", size=3)])
    result = compiling.compile_emulator(model, tmp_path / "layers.pt2", BLOCK)
    assert max(difference.largest for difference in result.making.differences) < 1e-6  # of answers below 1


# --- layers by this library -----------------------------------------------------------------------------------


def test_layers_take_the_place_of_their_original_in_blocks_of_any_size(layered: Path, couple: Couple) -> None:
    original = couple({"model": layered.with_suffix(".pt"), "block": BLOCK}, cells=45)
    expected = lai_of(original)
    for block in (BLOCK, 16):
        package = couple({"model": layered, "sha256": digest(layered), "block": block}, cells=45)
        np.testing.assert_allclose(lai_of(package), expected, rtol=1e-5, atol=1e-6)
        assert package.emulators[0].keeps_bits


def test_layers_say_what_they_are(layered: Path) -> None:
    assert "in layers, which are faster here than native code" in layered.with_suffix(".txt").read_text()
    making = compiled.making_of(describe(layered))
    assert making.sums is not None
    assert making.original_sha256 == digest(layered.with_suffix(".pt"))
    assert making.differences[0].relative < 1e-5
    assert (
        f"{making.original_sha256}) in layers, float32"
        in CliRunner().invoke(commands, ["inspect", str(layered)]).output
    )


def test_layers_are_summed_as_the_package_says(layered: Path) -> None:
    package = load(layered, expected=digest(layered))
    making = compiled.making_of(package_found := describe(layered))
    forward = torchscript.method_of(torchscript.module_of(describe(layered.with_suffix(".pt"))))
    way = dense(forward, making.sums)
    assert way is not None
    (rows,) = sample_arguments(package.manifest, 2000)
    expected = way.call(rows, *way.memory(len(rows), 1))
    np.testing.assert_array_equal(package.forward(rows), expected)
    assert package.sha256 == package_found.sha256 == digest(layered)
    assert [one.bind is not None for one in package.fused] == [True]


@pytest.mark.skipif(not layers.lib.product_is_here(), reason="this processor lacks AVX2 or FMA")
def test_sums_of_packages_make_other_bits(layered: Path) -> None:
    found = describe(layered.with_suffix(".pt"))
    (rows,) = sample_arguments(found.manifest, 2000)
    one, four = (compiled.in_layers(found, [1, n_sums, n_sums]).forward(rows) for n_sums in (1, 4))
    assert not torch.equal(one, four)
    torch.testing.assert_close(one, four)


@pytest.mark.parametrize("sums", [[1], [1, 1, 1, 1], [4, 4, 4], [2, 1, 1], []])
def test_package_with_the_sums_of_other_layers_is_refused(layered: Path, tmp_path: Path, sums: list[int]) -> None:
    other = altered(layered, tmp_path / "other.pt2", sums=sums)
    with refused(Status.MODEL, "other.pt2", "does not hold the layers", "coupler-plugin compile"):
        load(other, expected=digest(other))


def test_package_that_lost_its_layers_is_refused(layered: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pt2"
    with zipfile.ZipFile(layered) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(compiled.LAYERS):
                new.writestr(entry, old.read(entry))
    with refused(Status.MODEL, "other.pt2", "does not hold the layers", "coupler-plugin compile"):
        load(other, expected=digest(other))


def test_layers_have_the_same_bits_with_threads(layered: Path) -> None:
    package = load(layered, expected=digest(layered))
    (columns,) = sample_arguments(package.manifest, 5 * BLOCK)
    answers = []
    for threads in (1, 2):
        blocks = Blocks(package, len(columns), BLOCK, threads)
        blocks.inputs[:] = columns
        blocks.run()
        answers.append(blocks.outputs.copy())
    np.testing.assert_array_equal(*answers)
    np.testing.assert_array_equal(package.forward(columns), answers[0])


def test_layers_without_their_hash_are_refused(layered: Path) -> None:
    with refused(Status.MODEL, f"'sha256: {digest(layered)}'"):
        load(layered)


@pytest.mark.parametrize(("seconds", "is_taken"), [(0.05, True), (0.0, False)])
def test_layers_are_taken_where_they_are_faster(made: Path, seconds: float, is_taken: bool) -> None:
    found = describe(made.with_suffix(".pt"))
    forward = torchscript.method_of(torchscript.module_of(found))
    sample = sample_arguments(found.manifest, 9999)
    sums = compiling._sums(found, forward, lambda _: time.sleep(seconds), sample)
    assert (sums is not None) is is_taken
    assert sums is None or len(sums) == 3


class Spread(nn.Module):
    """One layer whose answer becomes wider when its constant is added."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.register_buffer("offsets", torch.zeros(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.offsets


@pytest.mark.parametrize(("network", "answers"), [("Twice", 1), ("Spread", 2)])
def test_other_networks_are_the_compilers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, answers: int
) -> None:
    module = globals()[network]().eval()
    model = write(tmp_path / "other.pt", module, [field("tas", "K")], [field("lai", "1", size=answers)])
    monkeypatch.setattr(compiling, "_build", empty_package)
    monkeypatch.setattr(compiling, "_runner", lambda path, device: slow(torch.jit.load(model)))
    assert compiling.compile_emulator(model, tmp_path / "other.pt2", BLOCK).making.sums is None


@pytest.mark.parametrize(("dtype", "is_taken"), [("float32", True), ("bfloat16", False)])
def test_layers_are_of_float32(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, is_taken: bool
) -> None:
    model = made.with_suffix(".pt")
    monkeypatch.setattr(compiling, "_build", empty_package)
    monkeypatch.setattr(compiling, "_runner", lambda path, device: slow(torch.jit.load(model)))
    making = compiling.compile_emulator(model, tmp_path / "layers.pt2", BLOCK, dtype).making
    assert (making.sums is not None) is is_taken


def empty_package(found: Found, exported: object, path: Path, settings: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/version", "")
    return path


def test_layers_that_are_all_the_librarys_are_the_compilers(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made.with_suffix(".pt")
    monkeypatch.setattr(compiling, "_build", empty_package)
    monkeypatch.setattr(compiling, "_runner", lambda path, device: slow(torch.jit.load(model)))
    monkeypatch.setattr(layers, "_is_possible", lambda rows: False)
    assert compiling.compile_emulator(model, tmp_path / "layers.pt2", BLOCK).making.sums is None


def slow(module: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return what computes the same, but takes its time."""

    def run(*arguments: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return module(*arguments)

    return run


# --- bfloat16 -------------------------------------------------------------------------------------------------


def test_factors_of_products_are_shortened_and_the_error_is_stated(made: Path) -> None:
    found = describe(made.with_suffix(".pt"))
    module = torchscript.module_of(found)
    blocks = compiling._samples(found.manifest, BLOCK)
    with torch.no_grad():
        exported = compiling._export(found, module, blocks[0], "bfloat16", "cpu")[0].module()
        (one,) = compiling._compare(found.manifest, module, exported, blocks)
    assert compiling.TOLERANCE["float32"] < one.relative < compiling.TOLERANCE["bfloat16"]


def test_network_without_products_cannot_be_shortened(tmp_path: Path) -> None:
    model = write(tmp_path / "twice.pt", Twice(), [field("tas", "K")], [field("lai", "1")])
    with refused(Status.MODEL, "no product that could run in bfloat16"):
        compiling.compile_emulator(model, tmp_path / "twice.pt2", BLOCK, dtype="bfloat16")
