"""Old artifacts go, and never one that is in use."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "artifact_store" / "files" / "prune_artifacts.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prune_artifacts", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prune = load()
VERSIONS = st.dictionaries(st.text("0123456789.", min_size=1, max_size=5), st.dates().map(str))


@given(VERSIONS, st.sets(st.text("0123456789.", min_size=1, max_size=5)), st.integers(1, 5))
def test_what_is_in_use_and_the_newest_stay(built: dict[str, str], in_use: set[str], keep: int) -> None:
    gone = prune.surplus(built, in_use, keep)
    stay = set(built) - set(gone)
    assert in_use & set(built) <= stay
    assert len(stay) >= min(keep, len(built))
    assert all(built[old] <= built[new] for old in gone for new in stay - in_use)


def version(root: Path, app: str, name: str, built_at: str) -> None:
    folder = root / app / name
    folder.mkdir(parents=True)
    (folder / f"{app}-{name}.manifest.json").write_text(json.dumps({"built_at": built_at}))


def run(root: Path, keep: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", str(PROGRAM), "--keep", str(keep), str(root)], capture_output=True, text=True, check=False)


def left(root: Path, app: str) -> set[str]:
    return {path.name for path in (root / app).iterdir() if not path.name.startswith(".")}


def test_the_program_prunes_each_application_by_itself(tmp_path: Path) -> None:
    for number in range(5):
        version(tmp_path, "shop", f"1.{number}", f"2026-01-0{number + 1}T00:00:00Z")
    version(tmp_path, "blog", "0.1", "2020-01-01T00:00:00Z")
    (tmp_path / "shop" / ".in-use").mkdir()
    (tmp_path / "shop" / ".in-use" / "production").write_text("1.1\n1.0\n")
    (tmp_path / "shop" / "desired-production.signed").write_text("no version, but which of them runs\n")
    done = run(tmp_path, 2)
    assert done.returncode == 0, done.stderr
    assert left(tmp_path, "shop") == {"1.0", "1.1", "1.3", "1.4", "desired-production.signed"}
    assert left(tmp_path, "blog") == {"0.1"}


def test_an_application_that_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    version(tmp_path, "shop", "1.0", "2026-01-01T00:00:00Z")
    version(tmp_path, "shop", "1.1", "2026-01-02T00:00:00Z")
    (tmp_path / "shop" / "1.0" / "shop-1.0.manifest.json").write_text("{")
    done = run(tmp_path, 1)
    assert done.returncode == 1
    assert "left alone" in done.stderr
    assert left(tmp_path, "shop") == {"1.0", "1.1"}


def test_an_upload_that_was_cut_short_goes_after_a_day_and_one_that_runs_stays(tmp_path: Path) -> None:
    for name, age in ((".incoming-old", prune.UPLOAD_SECONDS + 60), (".incoming-new", 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop-1.0.tar.zst").write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    done = run(tmp_path, 1)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == [".incoming-new"]
