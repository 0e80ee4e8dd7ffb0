"""What the cache holds, and what goes when it is too much."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from skyvypack import cache as store
from skyvypack.errors import SkyvypackError

KIB = 1024


def layer(cache: Path, name: str, used: int, size: int = 64 * KIB) -> Path:
    folder = cache / "layers" / name
    folder.mkdir(parents=True)
    (folder / "disk.qcow2").write_bytes(b"x" * size)
    os.utime(folder, (used, used))
    return folder


def file(cache: Path, name: str, used: int, size: int = 64 * KIB) -> Path:
    path = cache / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (used, used))
    return path


def test_entries_are_listed_by_last_use(tmp_path: Path) -> None:
    """Layers and images one by one, downloads as one entry as new as its newest; half-made things are not listed."""
    new, old = layer(tmp_path, "new", 300), layer(tmp_path, "old", 100)
    layer(tmp_path, ".half.part", 1)
    image = file(tmp_path, "images/a.qcow2", 150)
    for number, used in enumerate((50, 200)):
        file(tmp_path, f"debs/{number}.deb", used)
    found = store.entries(tmp_path)
    assert [(entry.kind, entry.path) for entry in found] == [
        ("layer", old),
        ("image", image),
        ("packages", tmp_path / "debs"),
        ("layer", new),
    ]
    assert found[2].size == 2 * 64 * KIB
    assert store.entries(tmp_path / "none") == []


def test_the_least_recently_used_goes_first_and_only_as_much_as_needed(tmp_path: Path) -> None:
    """Pruning stops as soon as the rest fits, whatever kind it is."""
    kept = [layer(tmp_path, "new", 300), file(tmp_path, "debs/new.deb", 290)]
    gone = [file(tmp_path, "debs/old.deb", 10), file(tmp_path, "images/old.qcow2", 20), layer(tmp_path, "old", 30)]
    removed = store.prune(tmp_path, 3 * 64 * KIB)
    assert [entry.path for entry in removed] == gone[:2]
    removed = store.prune(tmp_path, 2 * 64 * KIB)
    assert [entry.path for entry in removed] == gone[2:]
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in gone)


def test_what_is_in_use_stays(tmp_path: Path) -> None:
    """A layer that a bake holds survives a limit of nothing, until it is let go."""
    folder = layer(tmp_path, "a", 1)
    lock = store.hold(folder)
    try:
        assert store.prune(tmp_path, 0) == []
        assert (folder / "disk.qcow2").exists()
    finally:
        os.close(lock)
    assert [entry.path for entry in store.prune(tmp_path, 0)] == [folder]


def test_using_makes_it_the_newest(tmp_path: Path) -> None:
    """Holding a layer notes its use, so that it goes last."""
    first, second = layer(tmp_path, "a", 100), layer(tmp_path, "b", 200)
    os.close(store.hold(first))
    assert [entry.path for entry in store.entries(tmp_path)] == [second, first]


def test_what_a_killed_build_left_goes_unless_it_is_still_built(tmp_path: Path) -> None:
    """A half-made layer is removed when nobody holds its lock; one that is being made is not touched."""
    dead, alive = layer(tmp_path, ".dead.part", 1), layer(tmp_path, ".alive.part", 1)
    with store.exclusive(alive):
        store.prune(tmp_path)
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_full_disk_is_told_with_folder_and_sizes(tmp_path: Path) -> None:
    """The error names the folder, what is free and what it takes; other errors pass as they are."""
    message = rf"{tmp_path} for a layer: .* GiB free, about 3\.0 GiB needed"
    with pytest.raises(SkyvypackError, match=message) as full, store.space_errors(tmp_path, "a layer", 3 << 30):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "cache prune" in full.value.hint
    with pytest.raises(PermissionError), store.space_errors(tmp_path, "a layer", 1):
        raise PermissionError(errno.EACCES, "no")


def test_too_little_space_is_refused_before_anything_begins(tmp_path: Path) -> None:
    """More than any disk has is refused; what fits is not."""
    store.require_space(tmp_path, 1, "a layer")
    with pytest.raises(SkyvypackError, match="not enough space"):
        store.require_space(tmp_path, 1 << 60, "a layer")
