"""Places that cannot be written are refused before any work; what is written is what its name's ending says."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from bad_input import left, one_message
from conftest import Command
from PIL import Image

# Root may write nearly everywhere; a folder that refuses stands for one that is mounted to be read.
READ_ONLY = """
import errno, os, tempfile
real = os.open
def opened(path, flags, *rest, **more):
    if flags & (os.O_WRONLY | os.O_RDWR) and "/read_only" in os.path.realpath(os.fsdecode(path)):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
    return real(path, flags, *rest, **more)
os.open = opened
"""
NO_DECODING = "import seedbed.data.cache as c, seedbed.trained as t\nc.open_store = t.checkpoint.load_best = None\n"


@pytest.fixture(scope="module")
def run(command_server, tmp_path_factory, cache) -> Path:
    """A short run on digits, for tests that write nothing into it."""
    command = Command(command_server, tmp_path_factory.mktemp("digits"), cache)
    return command("dataset=digits", "train=smoke").check().folders[-1]


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png", "c,d (1).png"):
        Image.new("L", (8, 8), 90).save(folder / name)
    return folder


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("predictions=read_only/p.csv", ("predictions=read_only/p.csv: nothing can be written", "predictions=PATH")),
        ("predictions=file/p.csv", ("predictions: file is no folder", "predictions=PATH")),
        ("predictions=read_only", ("predictions=read_only: expected a file's name that ends in .csv",)),
        ("predictions=p.json", ("predictions=p.json", ".csv", "predictions=PATH")),
        ("predictions=folder.csv", ("predictions=folder.csv: is a folder",)),
        ("task=report table=t.xlsx", ("table=t.xlsx", ".csv")),
        ("task=report curves=c.doc", ("curves=c.doc", ".png or .pdf or .svg")),
        ("task=report curves=read_only/c.png", ("curves=read_only/c.png: nothing can be written", "curves=PATH")),
        ("task=train dataset=digits output_root=read_only/x", ("output_root: cannot make", "SEEDBED_OUTPUTS")),
        ("task=train dataset=digits cache_root=read_only/x", ("cache_root: cannot keep", "SEEDBED_CACHE")),
        ("-m dataset=digits seed=0,1 output_root=read_only/x", ("output_root: cannot make read_only/x/",)),
    ],
)
def test_it_is_refused_before_any_work(seedbed, tmp_path, run, images, typed, names):
    for folder in ("read_only", "folder.csv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    before = left(tmp_path)
    task = [] if "task" in typed or "-m" in typed else ["task=predict", f"checkpoint={run}", f"images={images}"]
    done = seedbed(*task, *typed.split(), before=READ_ONLY + (NO_DECODING if task else ""))
    message = one_message(done, *names)
    assert "decod" not in done.out and left(tmp_path) == before, message


def test_a_run_that_cannot_be_written_is_not_gone_on_with(seedbed, tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir()
    (folder / "config.yaml").write_text("train: {epochs: 1}")
    one_message(seedbed("resume=read_only", before=READ_ONLY), "resume: nothing can be written into read_only")


def test_what_an_ending_says_a_file_holds(seedbed, tmp_path):
    seedbed("dataset=digits", "train=smoke").check()
    for name, begin in {"c.png": b"\x89PNG", "c.pdf": b"%PDF", "c.SVG": b"<?xml"}.items():
        seedbed("task=report", f"curves={name}").check()
        assert (tmp_path / name).read_bytes().startswith(begin)


LOST = """
import seedbed.tasks.predict as task
real = task.probabilities
def and_remove(*args):
    import shutil
    shutil.rmtree("place")
    return real(*args)
task.probabilities = and_remove
"""


def test_predictions_whose_folder_vanishes_are_kept_elsewhere(seedbed, tmp_path, run, images):
    (tmp_path / "place").mkdir()
    typed = ("task=predict", f"checkpoint={run}", f"images={images}", "predictions=place/p.csv")
    message = one_message(seedbed(*typed, before=LOST), "predictions=place/p.csv: ", "it is kept in ")
    kept = Path(message.rpartition("kept in ")[2])
    assert kept.parent == tmp_path and len(kept.read_text().splitlines()) == 4


GONE = """
from seedbed.experiment import Experiment
import shutil, tempfile
tempfile.tempdir = None  # whoever asked before kept the answer
real = Experiment.test
def and_remove(experiment):
    shutil.rmtree("outputs")
    return real(experiment)
Experiment.test = and_remove
"""


def test_a_run_whose_folder_vanishes_can_go_on_elsewhere(seedbed, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    done = seedbed("dataset=digits", "train=smoke", before=GONE, TMPDIR=str(tmp_path / "tmp"))
    message = one_message(done, "go on with: python -m run resume=")
    folder = Path(message.rpartition("resume=")[2])
    assert folder.parent == tmp_path / "tmp"
    assert "finished" in seedbed(f"resume={folder}").check().out and (folder / "result.json").is_file()


def predicted(path: Path) -> list[str]:
    return [line.rpartition(",")[0].rpartition(",")[0].strip('"') for line in path.read_text().splitlines()[1:]]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("images/a.png,images/b.png", ["images/a.png", "images/b.png"]),
        ("[images/b.png,images/a.png]", ["images/b.png", "images/a.png"]),
        ("images/?.png", ["images/a.png", "images/b.png"]),
        ("images/[b].png", ["images/b.png"]),
        ("images/c,d (1).png", ["c,d (1).png"]),
        ("images/a.png,images", ["images/a.png", "images/b.png", "images/c,d (1).png"]),
        ("images", ["a.png", "b.png", "c,d (1).png"]),
        ("**/a.png", ["images/a.png"]),
    ],
)
def test_several_images_by_their_names(seedbed, tmp_path, run, images, typed, names):
    seedbed("task=predict", f"checkpoint={run}", f"images={typed}").check()
    assert predicted(tmp_path / "predictions.csv") == names


def test_names_on_standard_input(seedbed, tmp_path, run, images):
    (tmp_path / "list.txt").write_text("images/c,d (1).png\n\nimages/a.png\n")
    given = "import os\nos.dup2(os.open('list.txt', os.O_RDONLY), 0)\n"
    seedbed("task=predict", f"checkpoint={run}", "images=-", before=given).check()
    assert predicted(tmp_path / "predictions.csv") == ["images/c,d (1).png", "images/a.png"]
    one_message(
        seedbed("task=predict", f"checkpoint={run}", "images=-", "predictions=q.csv"), "standard input names none"
    )


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("images=images/a.png,images/z.png", "images: images/z.png is not there"),
        ("images=images/*.tif", "images: images/*.tif is not there"),
        ("images=[]", "images: expected a path"),
        ("-m images=images/a.png,images/b.png", "images=A,B without -m"),
        ("-m images=-", "standard input can be read once only"),
    ],
)
def test_a_list_with_a_mistake_is_one_message(seedbed, tmp_path, run, images, typed, name):
    one_message(seedbed("task=predict", f"checkpoint={run}", *typed.split()), name)
    assert not (tmp_path / "predictions.csv").exists()


def test_the_mode_of_a_file_that_is_there_is_not_asked(tmp_path):
    """A folder is tried by a file, not by its permissions."""
    from seedbed.files import try_folder

    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try_folder(tmp_path / "new" / "deeper")
    if os.geteuid():
        with pytest.raises(PermissionError):
            try_folder(closed)
    with pytest.raises(NotADirectoryError):
        (tmp_path / "file").touch()
        try_folder(tmp_path / "file" / "below")
