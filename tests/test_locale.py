"""Whatever the locale and the fonts: names are right in files, and nothing breaks at the end."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import zipped

from seedbed.plots import figure

ROOT = Path(__file__).parents[1]
FAST = ("device=cpu", "train.epochs=1", "train.batch_size=8", "dataset.image_size=8")
CLASSES = ("pâté", "苹果汁")


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    folder = tmp_path_factory.mktemp("locales")
    for name, letters in (("en_US", "ISO-8859-1"), ("zh_CN", "GBK")):
        subprocess.run(["localedef", "-i", name, "-f", letters, str(folder / f"{name}.{letters}")], capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["C", "en_US.ISO-8859-1", "zh_CN.GBK"])
def test_a_run_under_any_locale(tmp_path, picture_tree, locales, name):
    if name != "C" and not (locales / name).exists():
        pytest.skip("localedef makes no such locale here")
    root = zipped(picture_tree({f"{cls}/{i}.png": 50 * k for k, cls in enumerate(CLASSES) for i in range(12)}))
    paths = {"SEEDBED_OUTPUTS": str(tmp_path / "out"), "SEEDBED_CACHE": str(tmp_path / "cache")}
    locale = {"LC_ALL": name, "LOCPATH": str(locales), "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "run", "dataset=folder", f"dataset.root={root}", *FAST]
    subprocess.run(command, env=os.environ | paths | locale, check=True, capture_output=True)
    (table,) = (tmp_path / "out").glob("*/per_class.csv")
    with table.open(encoding="utf-8", newline="") as file:
        assert tuple(row[0] for row in csv.reader(file))[1:] == CLASSES
    subprocess.run([sys.executable, "-m", "run", "--help"], env=os.environ | locale, check=True, capture_output=True)


def test_text_files_are_utf_8():
    calls = re.compile(r"(?<!os)(?<!Image)(?<!archive)\.(read_text|write_text|open)\(([^()]|\([^()]*\))*\)")
    for path in (*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("[!t]*.py")):
        for call in calls.finditer(path.read_text(encoding="utf-8")):
            assert "encoding" in call[0] or re.search(r'"[r+wa]*b[r+wa]*"', call[0]), f"{path}: {call[0]}"


def test_classes_without_letters_in_any_font_are_numbered_with_one_line(monkeypatch, caplog):
    monkeypatch.setattr(figure, "_letters", lambda: set("abcpâté"))
    with caplog.at_level("WARNING", "seedbed"):
        assert list(figure.drawable(["苹果", "香蕉"])) == ["1", "2"] == list(figure.drawable(["苹果", "香蕉"]))
    assert len(caplog.records) == 1 and "fonts-noto-cjk" in caplog.text
    assert list(figure.drawable(["pâté", "a\nb"])) == ["pâté", "a·b"]
    assert list(figure.drawable(["a\nb", "a\tb"])) == ["1", "2"], "each has a name of its own"
