"""Metrics as scikit-learn's, early stopping, checkpoints, and the loop."""

from __future__ import annotations

import contextlib
import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import image_split
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import nn

from seedbed.data.augment import Chain
from seedbed.data.loader import Loader, Preprocess
from seedbed.data.mix import CutMix
from seedbed.errors import UserError
from seedbed.models.mlp import MLP
from seedbed.training import checkpoint
from seedbed.training.early_stopping import EarlyStopping
from seedbed.training.evaluate import measure
from seedbed.training.loop import NonFiniteLoss, State, fit


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 10**6))
@settings(max_examples=60)
def test_metrics_equal_scikit_learns(classes, n, seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, classes, (2, n))
    ours = measure(labels, predictions, classes)
    options = {"average": "macro", "zero_division": 0}
    assert ours.accuracy == pytest.approx(reference.accuracy_score(labels, predictions))
    assert ours.precision == pytest.approx(reference.precision_score(labels, predictions, **options))
    assert ours.recall == pytest.approx(reference.recall_score(labels, predictions, **options))
    assert ours.f1 == pytest.approx(reference.f1_score(labels, predictions, **options))
    every = list(range(classes))
    assert np.array_equal(ours.confusion, reference.confusion_matrix(labels, predictions, labels=every))
    by_class = reference.precision_recall_fscore_support(labels, predictions, labels=every, zero_division=0)
    assert np.allclose(ours.per_class, np.stack(by_class[:3], 1))


def test_early_stopping_waits_for_its_patience():
    stopping = EarlyStopping("val_accuracy", 2)
    assert [stopping.update(e, f, 1) for e, f in enumerate([0.5, 0.6, 0.6, 0.55], 1)] == [True, True, False, False]
    assert stopping.exhausted and stopping.best_epoch == 2


@pytest.mark.parametrize(("ties", "kept"), [("loss", [1, 3, 5]), ("first", [1, 3])])
def test_a_tie_goes_to_the_lower_loss_and_patience_goes_on(ties, kept):
    stopping = EarlyStopping("val_accuracy", 3, ties)
    epochs = [(0.5, 1.0), (0.4, 0.1), (0.6, 0.9), (0.6, 0.9), (0.6, 0.8), (0.6, 0.85)]
    assert [e for e, (value, loss) in enumerate(epochs, 1) if stopping.update(e, value, loss)] == kept
    assert stopping.waited == 3 and stopping.exhausted and stopping.best_epoch == kept[-1]


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
def test_nan_is_worse_than_any_number(monitor):
    nan, stopping = float("nan"), EarlyStopping(monitor, None)
    epochs = [(nan, nan), (0.5, nan), (nan, 0.1), (0.5, 0.3), (0.5, nan)]
    assert [stopping.update(e, *pair) for e, pair in enumerate(epochs, 1)] == [True, True, False, True, False]


FEW = st.sampled_from([0.25, 0.5, 0.75, float("nan")])


@given(
    st.lists(st.tuples(FEW, FEW), min_size=1, max_size=12), st.integers(0, 12), st.sampled_from(["loss", "first"]),
    st.sampled_from(["val_accuracy", "val_loss"]), st.integers(1, 4),
)  # fmt: skip
def test_a_state_in_the_middle_changes_no_choice(epochs, middle, ties, monitor, patience):
    whole, resumed = (EarlyStopping(monitor, patience, ties) for _ in range(2))
    for epoch, (value, loss) in enumerate(epochs, 1):
        if epoch == middle + 1:
            state, resumed = resumed.state_dict(), EarlyStopping(monitor, patience, ties)
            resumed.load_state_dict(state)
        assert whole.update(epoch, value, loss) == resumed.update(epoch, value, loss)
        assert (whole.best_epoch, whole.waited, whole.exhausted) == (
            resumed.best_epoch, resumed.waited, resumed.exhausted,
        )  # fmt: skip
    sign = 1 if monitor == "val_accuracy" else -1
    numbers = [sign * value for value, _ in epochs if value == value]
    best = [e for e, (value, _) in enumerate(epochs, 1) if not numbers or sign * value == max(numbers)]
    expected = best[0]
    if ties == "loss":
        expected = min(best, key=lambda e: (np.nan_to_num(epochs[e - 1][1], nan=np.inf), e))
    assert whole.best_epoch == expected


def make_state(dropout: float = 0.3, one_cycle: bool = False) -> State:
    torch.manual_seed(0)
    model = MLP((1, 6, 6), 3, [16], dropout=dropout)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
    if one_cycle:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=40)
    else:
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    return State(model, optimizer, scheduler, EarlyStopping("val_accuracy", None), scheduler_per_batch=one_cycle)


def make_loaders(augment: Chain | None = None):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 101)
    images = np.clip(rng.normal(80 * labels[:, None, None, None], 60, (101, 1, 6, 6)), 0, 255).astype(np.uint8)
    split = image_split(images, labels)
    common = {"preprocess": Preprocess(6, (0.5,), (0.5,)), "device": torch.device("cpu")}
    return (
        Loader(split, batch_size=10, seed=0, augment=augment, classes=3, **common),
        Loader(split, batch_size=50, **common),
    )


def run(state: State, epochs: int = 4, augment: Chain | None = None, **extra):
    train, val = make_loaders(augment)
    return fit(
        state, train, val, epochs=epochs, seed=0, classes=3, loss=nn.CrossEntropyLoss(),
        autocast=contextlib.nullcontext, **extra,
    )  # fmt: skip


def same(a, b) -> bool:
    return all(torch.equal(a.best[k], b.best[k]) for k in a.best) and [
        {k: v for k, v in row.items() if k != "seconds"} for row in a.history
    ] == [{k: v for k, v in row.items() if k != "seconds"} for row in b.history]


@pytest.mark.parametrize("one_cycle", [False, True])
@pytest.mark.parametrize("steps", [1, 5, 10, 13, 27])
def test_a_loop_stopped_at_any_step_goes_on_exactly(tmp_path, steps, one_cycle):
    whole = make_state(one_cycle=one_cycle)
    list(run(whole))
    assert len(whole.history) == 4 and whole.history[-1]["train_accuracy"] > 0.5

    left = iter(range(steps))
    stopped = make_state(one_cycle=one_cycle)
    for state in run(stopped, stop=lambda: next(left, None) is None):
        checkpoint.save_last(tmp_path / "last.pt", state.state_dict())
        if state.step:
            break
    resumed = make_state(one_cycle=one_cycle)
    resumed.load_state_dict(checkpoint.load_last(tmp_path / "last.pt"))
    list(run(resumed))
    assert same(whole, resumed)

    spoilt = checkpoint.load_last(tmp_path / "last.pt")
    for entry in spoilt["optimizer"]["state"].values():
        entry["exp_avg"].add_(0.1)
    damaged = make_state(one_cycle=one_cycle)
    damaged.load_state_dict(spoilt)
    list(run(damaged))
    assert not same(whole, damaged), "the comparison can fail"


@pytest.mark.parametrize("ties", ["loss", "first"])
def test_a_tie_is_decided_after_a_resume_as_in_one_go(ties):
    """Every validation image right from the second epoch on: the loss alone goes on falling."""

    def state() -> State:
        start = make_state(dropout=0)
        start.stopping = EarlyStopping("val_accuracy", None, ties)
        return start

    def easy(start: State, epochs: int) -> list[int]:
        images = np.repeat(np.arange(3) * 100, 30).astype(np.uint8)[:, None, None, None]
        split = image_split(np.broadcast_to(images, (90, 1, 6, 6)).copy(), np.repeat(np.arange(3), 30))
        common = {"preprocess": Preprocess(6, (0.5,), (0.5,)), "device": torch.device("cpu"), "batch_size": 30}
        loaders = Loader(split, seed=0, **common), Loader(split, **common)
        list(fit(start, *loaders, epochs=epochs, seed=0, classes=3, loss=nn.CrossEntropyLoss(),
                 autocast=contextlib.nullcontext))  # fmt: skip
        return [row["epoch"] for row in start.history if row["val_accuracy"] == 1]

    whole, half, resumed, of_old_version = state(), state(), state(), state()
    right = easy(whole, 12)
    assert len(right) > 3 and whole.stopping.best_epoch == {"loss": 12, "first": right[0]}[ties]
    easy(half, 10)
    saved = copy.deepcopy(half.state_dict())
    resumed.load_state_dict(copy.deepcopy(saved))
    saved["stopping"].pop("best_loss")
    of_old_version.load_state_dict(saved)
    for again in (resumed, of_old_version):
        easy(again, 12)
        assert same(whole, again) and again.stopping == whole.stopping


def test_moments_follow_their_weights_into_another_memory_format():
    def step(model, optimizer):
        torch.manual_seed(1)
        model(torch.randn(4, 3, 6, 6)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def start(memory_format):
        torch.manual_seed(0)
        model = nn.Conv2d(3, 5, 3).to(memory_format=memory_format)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2, fused=True)
        return State(model, optimizer, None, EarlyStopping("val_accuracy", None))

    whole, state = start(torch.channels_last), start(torch.channels_last)
    for each in (whole, state):
        step(each.model, each.optimizer)
    other = start(torch.contiguous_format)
    other.load_state_dict(state.state_dict())
    for each in (whole, other):
        step(each.model, each.optimizer)
    torch.testing.assert_close(whole.model.weight, other.model.weight, rtol=1e-5, atol=1e-6)


def test_a_validation_loss_of_nan_stops_before_it_is_kept():
    state = make_state(dropout=0)
    state.optimizer.param_groups[0]["lr"] = 1e38  # the last step of the epoch spoils the weights
    train, val = make_loaders()
    train.batch_size = train.samples  # one step an epoch: no later training loss can show it
    with pytest.raises(NonFiniteLoss, match="validation loss became nan in epoch 1, step 1"):
        list(fit(state, train, val, epochs=2, seed=0, classes=3, loss=nn.CrossEntropyLoss(),
                 autocast=contextlib.nullcontext))  # fmt: skip
    assert not state.best and not state.history


def test_training_metrics_are_means_over_samples():
    state = make_state(dropout=0)
    state.optimizer.param_groups[0]["lr"] = 0.0
    train, _ = make_loaders()
    assert len(train) == 10, "a batch of one sample is left out"
    list(run(state, epochs=1))
    assert 0 < state.history[0]["train_accuracy"] <= 1


def test_a_non_finite_loss_stops_with_epoch_and_step():
    state = make_state()
    with torch.no_grad():
        next(state.model.parameters()).fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match="epoch 1, step 1"):
        list(run(state))


def test_best_weights_are_those_of_the_best_epoch():
    state = make_state()
    for _ in run(state):
        if state.improved:
            kept = {k: v.clone() for k, v in state.model.state_dict().items()}
    assert all(torch.equal(kept[k], state.best[k]) for k in kept)


def test_files_that_are_no_checkpoints(tmp_path):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "last.pt"
    path.write_bytes(pickle.dumps(Code()))
    for content in (path.read_bytes(), b"", b"PK\x03\x04", b"hello"):
        path.write_bytes(content)
        with pytest.raises(UserError):
            checkpoint.load_last(path)
        with pytest.raises(UserError):
            checkpoint.load_best(path)
    torch.save(Code(), path)
    with pytest.raises(UserError):
        checkpoint.load_last(path)
    assert not (tmp_path / "ran").exists()
    checkpoint.save_best(tmp_path / "best.safetensors", {"w": torch.ones(4)}, {"classes": ["a"]})
    weights, metadata = checkpoint.load_best(tmp_path / "best.safetensors")
    assert torch.equal(weights["w"], torch.ones(4)) and metadata["classes"] == ["a"]
    (tmp_path / "best.safetensors").write_bytes((tmp_path / "best.safetensors").read_bytes()[:-3])
    with pytest.raises(UserError, match="not a readable"):
        checkpoint.load_best(tmp_path / "best.safetensors")


@pytest.mark.parametrize(("version", "reads"), [(1, True), (2, True), (3, False), (None, False), ("2", False)])
def test_files_of_this_format_and_of_version_0_1_are_read(tmp_path, monkeypatch, version, reads):
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", version)
    checkpoint.save_last(tmp_path / "last.pt", {"epoch": 3})
    checkpoint.save_best(tmp_path / "best.safetensors", {"w": torch.ones(4)}, {"classes": ["a"]})
    for load, name in ((checkpoint.load_last, "last.pt"), (checkpoint.load_best, "best.safetensors")):
        if reads:
            load(tmp_path / name)
            continue
        with pytest.raises(UserError, match=f"{name}: has format version {version}, this seedbed reads 1 and 2"):
            load(tmp_path / name)


def test_the_keys_of_last_pt_are_those_of_version_0_1():
    state = make_state()
    for _ in run(state, epochs=1):
        saved = state.state_dict()
    assert set(saved) == {
        "model", "optimizer", "schedule", "stopping", "epoch", "step", "losses", "hits", "rate", "history", "best",
        "seconds", "generator", "cuda_generators",
    }  # fmt: skip
    assert set(saved["stopping"]) - {"best_loss"} == {"best", "best_epoch", "waited"}


def test_a_gradient_is_clipped_to_its_largest_norm():
    states = [make_state(dropout=0) for _ in range(2)]
    for state, clip in zip(states, (None, 1e-12), strict=True):
        state.optimizer = torch.optim.SGD(state.model.parameters(), lr=1.0)
        state.scheduler = None
        before = [p.clone() for p in state.model.parameters()]
        list(run(state, epochs=1, grad_clip=clip))
        moved = max((p - b).abs().max().item() for p, b in zip(state.model.parameters(), before, strict=True))
        assert (moved < 1e-9) == (clip is not None)


def test_certain_probabilities_train_and_count_as_labels_do():
    *_, plain = run(make_state())
    *_, mixed = run(make_state(), augment=Chain({}, CutMix(0.0)))
    for one, other in zip(plain.history, mixed.history, strict=True):
        for key in ("train_accuracy", "train_loss", "val_accuracy", "val_loss"):
            assert one[key] == pytest.approx(other[key], rel=1e-4), key
