"""A pool made by the real apt from a real mirror, used by an apt that knows nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from skyvypack import command, pool
from skyvypack.spec import Spec


@pytest.mark.load
def test_pool_is_closed(tmp_path: Path) -> None:
    """With the pool as its only source, as on a machine without a network, apt can install all of it."""
    names = ["openssh-server", "cloud-init"]
    made = pool.make(Spec("web", "1.0.0", "trixie", ()), names, tmp_path / "run", debs=tmp_path / "debs")
    for folder in ("lists/partial", "sources", "cache/archives/partial"):
        (tmp_path / "apt" / folder).mkdir(parents=True)
    apt = tmp_path / "apt"
    (apt / "status").touch()
    text = f"Types: deb\nURIs: file:{made}\nSuites: ./\nTrusted: yes\n"
    (apt / "sources" / "pool.sources").write_text(text)
    options = {
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "APT::Sandbox::User": "root",
        "Dir::Cache": apt / "cache",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": apt / "sources",
        "Dir::State": apt,
        "Dir::State::lists": apt / "lists",
        "Dir::State::status": apt / "status",
    }
    argv = ["apt-get", "-q", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    command.run([*argv, "update"])
    said = command.run([*argv, "--yes", "--download-only", "--no-install-recommends", "install", *names]).stdout
    assert "Download complete and in download only mode" in said
    # What the base system has already may have been mended since.
    held = {line for line in (made / "Packages").read_text().splitlines() if line.startswith("Package: ")}
    assert {f"Package: {name}" for name in ("bash", "gzip", "hostname", "mount", "perl-base", "tzdata")} <= held
