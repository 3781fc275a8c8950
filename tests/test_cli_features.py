"""The command on features."""

from __future__ import annotations

import json

import pytest
from bad_input import one_message

DIGITS = ("dataset=digits", "dataset.image_size=28", "train=smoke")
COLOUR = ["features.visual_words.hog.descriptor._target_=seedbed.features.descriptors.DenseColour"]
DENSE = (
    *DIGITS, "model=features_mlp", "features.visual_words.hog.vocabulary.words=16", "features.selection.sizes=[100]",
    "features.selection.trees=5", "features.visual_words.hog.levels=[3]",
)  # fmt: skip
# Few images: batches small enough for a vocabulary of 300 words, from which the first forest selects.
ORIGINAL = (*DIGITS, "model=features_mlp", "features=original", "features.visual_words.hog.vocabulary.batch=5")


def only_message(done) -> str:
    """The message of a refused run: one line, exit code 1, no folder."""
    assert not done.folders
    return one_message(done)


@pytest.mark.slow
@pytest.mark.parametrize(("overrides", "features"), [(DENSE, 100), (ORIGINAL, 64)], ids=["dense", "original"])
def test_a_run_on_features_and_its_evaluation(seedbed, overrides, features):
    done = seedbed.process(*overrides).check()
    (folder,) = done.folders
    assert done.result["status"] == "finished" and done.result["test"]["accuracy"] > 0.15
    assert (folder / "samples.png").stat().st_size > 1000, "the images themselves, not their features"
    again = seedbed("task=evaluate", f"checkpoint={folder / 'best.safetensors'}").check()
    assert "identical to the metrics" in again.out + again.err
    assert "extracting" not in again.out + again.err and len(again.folders) == 1

    from seedbed.training import checkpoint

    weights, metadata = checkpoint.load_best(folder / "best.safetensors")
    assert metadata["preprocess"] is None and weights["features:kept"].shape == (features,)
    assert {"features:words.hog", "features:offset", "features:factor"} <= set(weights)


@pytest.mark.slow
def test_the_file_alone_brings_its_visual_words_along(seedbed, tmp_path):
    """Evaluated with an empty cache: what was learned comes from the file, not from a new extraction."""
    folder = seedbed(*DENSE).check().folders[0]
    best = tmp_path / "elsewhere" / "best.safetensors"
    best.parent.mkdir()
    best.write_bytes((folder / "best.safetensors").read_bytes())
    (best.parent / "result.json").write_bytes((folder / "result.json").read_bytes())
    done = seedbed("task=evaluate", f"checkpoint={best}", SEEDBED_CACHE=str(tmp_path / "empty")).check()
    assert "identical to the metrics" in done.out + done.err
    assert not (tmp_path / "empty" / "features").exists()


@pytest.mark.slow
def test_another_optimizer_extracts_nothing_anew(seedbed, tmp_path):
    cache = {"SEEDBED_CACHE": str(tmp_path / "cache")}
    first = seedbed(*DENSE, **cache).check()
    assert "extracting features of 640 images, once" in first.out + first.err
    took = first.result["feature_seconds"]
    second = seedbed(*DENSE, "optimizer.lr=0.01", **cache).check()
    assert second.result["feature_seconds"] == took > 0, "what they took when they were made"
    assert "extracting features" not in second.out + second.err and len(second.folders) == 2
    third = seedbed(*DENSE, "features.visual_words.hog.power=1", **cache).check()
    assert "extracting features" in third.out + third.err
    assert len([p for p in (tmp_path / "cache" / "features").iterdir() if p.is_dir()]) == 2


@pytest.mark.slow
def test_the_same_run_twice_is_the_same(seedbed, tmp_path):
    runs = [seedbed(*DENSE, SEEDBED_CACHE=str(tmp_path / name)).check() for name in ("a", "b")]
    first, second = (json.loads((f / "result.json").read_text())["test"] for f in runs[-1].folders)
    assert first == second
    first, second = ((f / "best.safetensors").read_bytes() for f in runs[-1].folders)
    assert first == second


@pytest.mark.slow
def test_features_are_not_augmented(seedbed):
    assert "augment=none" in only_message(seedbed(*DENSE, "augment=flip"))
    for what in ("mix._target_=seedbed.data.mix.CutMix", "policy._target_=seedbed.data.policy.TrivialAugment"):
        assert "augment=none" in only_message(seedbed(*DENSE, f"+augment.{what}"))


@pytest.mark.slow
def test_a_preset_without_its_features_trains_and_is_tested_again(seedbed):
    overrides = ("experiment=original/fruits_features", "dataset=digits", "dataset.image_size=null", "train.epochs=1")
    folder = seedbed(*overrides, "features=none", "~features.selection").check().folders[-1]
    again = seedbed("task=evaluate", f"checkpoint={folder / 'best.safetensors'}").check()
    assert "identical to the metrics" in again.out


@pytest.mark.slow
def test_a_convnet_takes_no_features(seedbed, tmp_path):
    done = seedbed(*DIGITS, "model=convnet", "features=dense", SEEDBED_CACHE=str(tmp_path / "cache"))
    assert "needs images" in only_message(done)
    assert not (tmp_path / "cache" / "features").exists(), "refused before anything is extracted"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset.image_size=4"], "patch of 6 pixels on images of 4"),
        (
            [*COLOUR, "~features.visual_words.hog.descriptor.bins", "~features.visual_words.hog.descriptor.signed"],
            "need colour",
        ),
        (
            COLOUR,
            "takes no 'bins' (it takes patch, stride; to leave bins out type "
            "~features.visual_words.hog.descriptor.bins)",
        ),
        (["features.visual_words.hog.descriptor.stride=0"], "stride"),
        (["features.visual_words.hog.descriptor.patch=7"], "patch"),
        (["features.visual_words.hog.vocabulary.words=0"], "words"),
        (["features.visual_words.hog.assignment=sofd"], "features.visual_words.hog.assignment"),
        (["features.visual_words.hog=3"], "features.visual_words.hog: expected a group"),
    ],
)
def test_a_mistake_in_the_features_is_one_message(seedbed, overrides, message):
    assert message in only_message(seedbed(*DENSE, *overrides))


@pytest.mark.slow
def test_a_model_of_pixels_may_call_a_part_of_itself_features(seedbed, tmp_path):
    """As torchvision's AlexNet and VGG do; best.safetensors keeps what a pipeline learned under `features:`."""
    (tmp_path / "own.py").write_text(
        "from torch import nn\n\n\n"
        "class Own(nn.Module):\n"
        "    def __init__(self, input_shape, classes):\n"
        "        super().__init__()\n"
        "        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n\n"
        "    def forward(self, x):\n"
        "        return self.features(x)\n"
    )
    model = ("model._target_=own.Own", "~model.widths", "~model.batch_norm", "~model.dropout")
    done = seedbed("dataset=digits", "dataset.image_size=8", "train=smoke", *model).check()
    best = done.folders[0] / "best.safetensors"
    again = seedbed("task=evaluate", f"checkpoint={best}", "dataset=digits")
    assert "none of seedbed's" in again.err, "named on the command line only"

    from seedbed.experiment import FEATURES
    from seedbed.training import checkpoint

    weights, _ = checkpoint.load_best(best)
    assert not [name for name in weights if name.startswith(FEATURES)], "task=evaluate would take them for a pipeline's"


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["original/fashion_mnist_features", "best/fashion_mnist_features"])
def test_a_preset_runs_on_a_few_images(seedbed, tmp_path, preset):
    done = seedbed(f"experiment={preset}", "train=smoke", SEEDBED_CACHE=str(tmp_path / "cache"))
    assert done.code == 0, done.err
    # Two batches of images give the paper's vocabulary 20 words, of which 64 cannot be kept.
    assert ("asks for 64 features, there are 20: all kept" in done.out + done.err) == preset.startswith("original")


@pytest.mark.slow
def test_pictures_that_a_kill_prevented_are_drawn_when_the_run_goes_on(seedbed, tmp_path):
    cache = {"SEEDBED_CACHE": str(tmp_path / "cache")}
    (folder,) = seedbed(*DENSE, "train.keep_last=true", **cache).check().folders
    drawn = ["features.json", "words.png", "key_points.png", "importances.png"]
    for name in drawn:
        (folder / name).unlink()
    done = seedbed(f"resume={folder}", "train.epochs=2", **cache)
    assert done.code == 0, done.err
    assert all((folder / name).stat().st_size > 100 for name in drawn)
