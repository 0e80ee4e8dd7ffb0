"""A signed apt repository on 127.0.0.1, made anew for a test: what a vendor runs, with a key of its own."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from skyvypack import command

_DATE = "%a, %d %b %Y %H:%M:%S UTC"


class Key:
    """A throw-away OpenPGP key.

    Args:
        home: a folder for gpg.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "Vendor <vendor@example.org>", "ed25519", "sign")
        self.public = self._gpg("--armor", "--export")
        listed = self._gpg("--with-colons", "--list-keys").splitlines()
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def clear_sign(self, text: str) -> str:
        return self._gpg("--clear-sign", text=text)

    def detach_sign(self, file: Path) -> None:
        """Write the signature beside the file, as `<file>.gpg`."""
        self._gpg("--armor", "--output", f"{file}.gpg", "--detach-sign", str(file))

    def keyring(self, file: Path) -> None:
        """Write the public key as gpgv reads it; keyrings can be put behind one another."""
        self._gpg("--output", str(file), "--export")

    def end_agent(self) -> None:
        """gpg started one for its keys; nobody else ends it."""
        command.run(["gpgconf", "--homedir", self.home, "--kill", "all"])

    def _gpg(self, *arguments: str, text: str | None = None) -> str:
        argv = ["gpg", "--homedir", self.home, "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return command.run(argv, text=text).stdout


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Vendor:
    """The repository: suite ``stable``, component ``main``.

    Args:
        root: its folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.release = root / "dists" / "stable" / "InRelease"
        (self.release.parent / "main" / "binary-amd64").mkdir(parents=True)

    def add(self, name: str, version: str) -> None:
        """A package that holds one file, /usr/share/<name>."""
        tree = self.root / "build" / name
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr" / "share").mkdir(parents=True)
        (tree / "usr" / "share" / name).write_text(f"{version}\n")
        fields = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Vendor <vendor@example.org>\n"
        (tree / "DEBIAN" / "control").write_text(f"{fields}Description: of the vendor\n")
        deb = self.root / f"{name}.deb"
        command.run(["dpkg-deb", "--root-owner-group", "--build", tree, deb])

    def publish(self, key: Key | None, *, valid_until: datetime | None = None) -> None:
        """Write the index and the Release file, signed if there is a key."""
        packages = "".join(map(self._entry, sorted(self.root.glob("*.deb")))).encode()
        folder = self.release.parent
        indexes = {"main/binary-amd64/Packages": packages, "main/binary-amd64/Packages.gz": gzip.compress(packages)}
        for path, content in indexes.items():
            (folder / path).write_bytes(content)
        now = datetime.now(UTC) - timedelta(days=30)
        text = f"Origin: Vendor\nSuite: stable\nCodename: stable\nDate: {now.strftime(_DATE)}\n"
        text += f"Valid-Until: {valid_until.strftime(_DATE)}\n" if valid_until else ""
        text += "Architectures: amd64\nComponents: main\nSHA256:\n"
        text += "".join(f" {hashlib.sha256(one).hexdigest()} {len(one)} {path}\n" for path, one in indexes.items())
        self.release.write_text(key.clear_sign(text) if key else text)

    @staticmethod
    def _entry(deb: Path) -> str:
        content = deb.read_bytes()
        fields = command.run(["dpkg-deb", "--field", deb]).stdout
        return f"{fields}Filename: {deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"

    @contextmanager
    def served(self) -> Iterator[str]:
        """Its URL while the block is open."""
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(self.root))) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()
                thread.join()


def role(folder: Path, uri: str, key: Key, public: str = "", *, packages: str = "vendor-thing") -> Path:
    """A user's folder of roles that holds one, `vendor`, whose package comes from the repository."""
    place = folder / "vendor"
    keyring = place / "files" / "usr" / "share" / "keyrings" / "vendor.asc"
    keyring.parent.mkdir(parents=True)
    keyring.write_text(public or key.public)
    (place / "role.yaml").write_text(
        f"""\
summary: A vendor's package
origins: [upstream, debian]
repositories:
  vendor:
    origin: upstream
    uri: {uri}
    suites: stable
    components: main
    key: /usr/share/keyrings/vendor.asc
    fingerprint: {key.fingerprint}
    packages: [{packages}]
packages:
  vendor-thing: {{reason: what the role is for, origin: upstream}}
"""
    )
    return folder
