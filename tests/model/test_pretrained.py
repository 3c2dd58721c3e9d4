"""A model on disk: the saved model comes back, and other files are refused."""

import json
import sys

import pytest
import torch

from ramgru import Memory, RAMGRUModel, fast_step
from ramgru.errors import CheckpointError, RamgruError
from ramgru.kernels import native


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    memory = Memory(heads="key:2 tape", reads=3, learned_start=True)
    model = RAMGRUModel(23, 16, 3, 64, num_layers=1, controller="mingru", memory=memory)
    model.save_pretrained(tmp_path / "model")
    return model.eval(), tmp_path / "model"


def test_round_trip_gives_the_same_bits(saved):
    model, folder = saved
    again = RAMGRUModel.from_pretrained(folder).eval()
    src = torch.randint(23, (2, 9))
    assert again.config == model.config
    assert torch.equal(again(src), model(src))


@pytest.mark.skipif(not native.supported(), reason="the native library is not built")
def test_a_loaded_model_streams_on_the_fast_path(tmp_path):
    RAMGRUModel(23, 16, 2, 64, memory=Memory(heads="key key:2")).save_pretrained(tmp_path)
    layer = RAMGRUModel.from_pretrained(tmp_path).layers[0]
    state = layer.initial_state(1, dense=True)
    assert fast_step.step_(layer._parts(), torch.randn(1, 16), state) is not None


def test_dtype_comes_back(saved, tmp_path):
    model, _ = saved
    model.double().save_pretrained(tmp_path / "wide")
    again = RAMGRUModel.from_pretrained(tmp_path / "wide").eval()
    src = torch.randint(23, (2, 9))
    assert again.embedding.weight.dtype == torch.float64
    assert torch.equal(again(src), model(src))


def test_only_the_two_files_are_left(saved):
    _, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no saved model: it has no config.json"):
        RAMGRUModel.from_pretrained(tmp_path / "nowhere")


def test_missing_weights(saved):
    _, folder = saved
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"it has no model.safetensors"):
        RAMGRUModel.from_pretrained(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_broken_weights(saved, keep):
    _, folder = saved
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors is broken"):
        RAMGRUModel.from_pretrained(folder)


def test_weights_of_another_shape(saved):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]  # changed by hand
    (folder / "config.json").write_text(json.dumps({**config, "d_model": 32}))
    with pytest.raises(CheckpointError, match=r"does not fit its config.json"):
        RAMGRUModel.from_pretrained(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model_type": "bert"}', "{not json"])
def test_foreign_or_broken_config(saved, text):
    _, folder = saved
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config.json"):
        RAMGRUModel.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [{"colour": "plum"}, {"nhead": 0}, {"memory": 3}, {"memory": {"heads": "stack"}}],
    ids=str,
)
def test_config_of_another_model(saved, change):
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]  # changed by hand
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"config.json describes no such (model|memory)"):
        RAMGRUModel.from_pretrained(folder)


def test_config_without_sizes(saved):
    _, folder = saved
    (folder / "config.json").write_text('{"model_type": "ramgru"}')
    with pytest.raises(CheckpointError, match=r"describes no such model: .*vocab_size"):
        RAMGRUModel.from_pretrained(folder)


def test_a_full_disk_leaves_the_former_model(saved, monkeypatch):
    model, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with torch.no_grad():
        model.embedding.weight.zero_()
    with pytest.raises(RamgruError, match=r"No space left on device; the former file is untouched"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_without_safetensors_it_says_how_to_get_it(saved, monkeypatch):
    model, folder = saved
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)  # as after a failed import
    for act in (lambda: model.save_pretrained(folder), lambda: type(model).from_pretrained(folder)):
        with pytest.raises(RamgruError, match=r"need the library safetensors: pip install"):
            act()
