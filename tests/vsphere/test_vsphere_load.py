"""Large disks take no more memory than small ones."""

from __future__ import annotations

import hashlib
import resource
import ssl
from pathlib import Path

import pytest
from simulators.certificates import Authority
from simulators.vcenter import vcenter
from simulators.vcsim import Server

from skyvypack.targets.vsphere.vcenter.upload import Place, Source, send

GIB = 1 << 30
SIZE = 4 * GIB
GROWTH = 64 << 20


def peak() -> int:
    """Bytes of memory this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.load
def test_memory_is_flat(tmp_path: Path) -> None:
    """A disk of 4 GiB is sent, read back by the host and digested on both sides with less than 64 MB more memory."""
    path = tmp_path / "web.vmdk"
    with path.open("wb") as handle:
        handle.truncate(SIZE)
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    authority = Authority(tmp_path)
    with vcenter(Server(1, authority.file), authority) as host:
        place = Place(
            f"https://{host.server.host}/nfc/lease/disk", ssl.create_default_context(cafile=str(authority.file))
        )
        begin = peak()
        send(Source(path, digest, 0, SIZE), place, lambda _: None)
        grown = peak() - begin
    assert (host.uploads[0].size, host.uploads[0].sha256) == (SIZE, digest)
    assert grown < GROWTH
