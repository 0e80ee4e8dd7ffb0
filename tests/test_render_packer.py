"""Bundles and `prepare.sh` against the real Packer, and Packer's own behaviour that the bundle builds on."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import regenerate_goldens
from fixture_types import FakeTool

from skyvypack import assets, command
from skyvypack.render import render
from skyvypack.spec.model import Spec
from skyvypack.write import write

PACKER = {"CHECKPOINT_DISABLE": "1"}
SPEC = Spec("web", "1.0.0", "trixie", ())
BUNDLES = regenerate_goldens.bundles()


def prepared(spec: Spec, folder: Path) -> Path:
    """A bundle as it is after prepare.sh, with an empty layer."""
    write(render(spec), folder)
    (folder / "build" / "layer").mkdir(parents=True)
    command.run(["sh", folder / "prepare.sh"])
    return folder


def keygen(fake_tool: FakeTool) -> Path:
    """An ssh-keygen that writes a key and counts its calls."""
    script = 'for last; do :; done; echo secret > "$last"; echo "ssh-ed25519 AAAA+/= $$" > "$last.pub"'
    return fake_tool("ssh-keygen", f'{script}; echo called >> "$(dirname "$0")/calls"')


def test_prepare_makes_key_and_vendor_data(tmp_path: Path, fake_tool: FakeTool) -> None:
    """prepare.sh puts the public key into vendor-data, for nobody else to read, and runs layer.sh, from any folder."""
    keygen(fake_tool)
    (tmp_path / "bundle").mkdir()
    files = {"vendor-data.in": "key: '@PUBLIC_KEY@'\n", "layer.sh": 'umask; mkdir "$1"; pwd > "$1/disk.qcow2"\n'}
    for name, text in files.items():
        (tmp_path / "bundle" / name).write_text(text)
    script = (assets.builders() / "shared" / "prepare.sh").read_text()
    (tmp_path / "bundle" / "prepare.sh").write_text(script)
    umask = command.run(["sh", "-c", "umask"]).stdout
    done = command.run(["sh", "bundle/prepare.sh"], cwd=tmp_path)
    build = tmp_path / "bundle" / "build"
    public = (build / "id_ed25519.pub").read_text().strip()
    assert (build / "vendor-data").read_text() == f"key: '{public}'\n"
    assert {stat.S_IMODE((build / name).stat().st_mode) for name in ("id_ed25519", "vendor-data")} == {0o600}
    assert (build / "layer" / "disk.qcow2").read_text().strip() == str(tmp_path / "bundle")
    assert done.stdout == umask, "a tight umask would make the layer's files unreadable in the guest"


def test_prepare_again_changes_nothing(tmp_path: Path, fake_tool: FakeTool) -> None:
    """Run again, prepare.sh keeps key and layer, and makes a half-made key anew."""
    tool = keygen(fake_tool)
    for name in ("prepare.sh", "vendor-data.in"):
        (tmp_path / name).write_text(render(SPEC).files[name])
    (tmp_path / "layer.sh").write_text('mkdir "$1"\n')
    for _ in range(2):
        command.run(["sh", tmp_path / "prepare.sh"])
    key = (tmp_path / "build" / "id_ed25519.pub").read_text()
    assert (tool.parent / "calls").read_text().count("called") == 1
    (tmp_path / "build" / "id_ed25519.pub").write_text("")
    command.run(["sh", tmp_path / "prepare.sh"])
    assert (tmp_path / "build" / "id_ed25519.pub").read_text() != key
    assert not list((tmp_path / "build").glob("*.part"))


@pytest.mark.tool
def test_fmt_leaves_bundles_alone(tmp_path: Path) -> None:
    """`packer fmt` has nothing to change in any bundle, of either dialect."""
    for name, bundle in BUNDLES.items():
        (tmp_path / f"{name}.pkr.hcl").write_text(bundle.files["skyvyos.pkr.hcl"])
    done = command.run(["packer", "fmt", "-check", "-diff", tmp_path], env=PACKER, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.tool
@pytest.mark.parametrize("case", ["bootstrap", "settings"])
@pytest.mark.parametrize("inside", [True, False])
def test_packer_accepts_the_bundle(tmp_path: Path, case: str, inside: bool) -> None:
    """Packer 1.6.6 validates a prepared bundle, called from within or from elsewhere."""
    folder = prepared(regenerate_goldens.specs()[case], tmp_path / "bundle")
    command.run(["packer", "validate", "." if inside else "bundle"], cwd=folder if inside else tmp_path, env=PACKER)


@pytest.mark.tool
def test_packer_accepts_a_cloud_image(tmp_path: Path) -> None:
    """A bundle that starts from a cloud image validates with the variables of a bake, and without the network."""
    folder = prepared(regenerate_goldens.specs()["cloud-image"], tmp_path / "bundle")
    given = ["-var", f"layer={tmp_path}", "-var", "disk_checksum=sha256:" + "0" * 64]
    command.run(["packer", "validate", *given, "."], cwd=folder, env=PACKER)


@pytest.mark.tool
@pytest.mark.parametrize("variable", ["accelerator=warp", "nope=1", "compress=maybe"])
def test_packer_refuses_wrong_variables(tmp_path: Path, variable: str) -> None:
    """A wrong value of a variable is found before a guest is started."""
    folder = prepared(SPEC, tmp_path / "bundle")
    done = command.run(["packer", "validate", "-var", variable, "."], cwd=folder, env=PACKER, check=False)
    assert done.returncode == 1


@pytest.mark.tool
@pytest.mark.parametrize("compress", [True, False])
def test_disk_stands_alone_when_compressed(tmp_path: Path, compress: bool) -> None:
    """`compress` decides whether the finished disk needs the layer; neither path copies or changes the layer.

    Packer runs the bundle's own source with the communicator off, on an empty disk: the firmware finds nothing to
    boot and, told not to wait, ends QEMU.
    """
    folder = prepared(replace(SPEC, name="empty"), tmp_path / "bundle")
    layer = folder / "build" / "layer" / "disk.qcow2"
    command.run(["qemu-img", "create", "-q", "-f", "qcow2", layer, "8G"])
    (folder / "build" / "layer" / "initrd.img").touch()
    before = layer.read_bytes()
    document = folder / "skyvyos.pkr.hcl"
    text = document.read_text().replace('"ssh"', '"none"')
    head, build = text.split("\nbuild {")
    head = "\n".join(
        line
        for line in head.splitlines()
        if not line.lstrip().startswith(("shutdown_c", '["-kernel', '["-initrd', '["-append'))
    )
    head = head.replace('["-vnc", "none"],', '["-vnc", "none"], ["-no-reboot"], ["-boot", "reboot-timeout=1"],')
    document.write_text(head + '\nbuild {\n  sources = ["source.qemu.empty"]\n}\n')
    assert "provisioner" in build
    variables = ["-var", f"compress={json.dumps(compress)}", "-var", f"output_directory={tmp_path}/out"]
    command.run(["packer", "build", *variables, "."], cwd=folder, env=PACKER, timeout=90)
    info = json.loads(command.run(["qemu-img", "info", "--output=json", tmp_path / "out" / "empty-1.0.0.qcow2"]).stdout)
    assert info["format"] == "qcow2"
    assert info.get("full-backing-filename") == (None if compress else str(layer))
    assert layer.read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["empty-1.0.0.qcow2"]


@pytest.mark.tool
@pytest.mark.parametrize(("net_device", "card"), [("virtio-net", "virtio-net-pci"), ("vmxnet3", "vmxnet3")])
def test_only_this_host_reaches_the_guest(tmp_path: Path, net_device: str, card: str) -> None:
    """QEMU's forward listens on 127.0.0.1 alone, and Packer's network card of the spec's kind still hangs on it.

    Packer waits for the SSH of an empty disk that its firmware cannot boot, while we look at the ports.
    """
    settings = regenerate_goldens.specs()["bootstrap"].targets["qemu"] | {"net_device": net_device}
    folder = prepared(replace(SPEC, name="empty", targets={"qemu": settings}), tmp_path / "bundle")
    layer = folder / "build" / "layer"
    command.run(["qemu-img", "create", "-q", "-f", "qcow2", layer / "disk.qcow2", "8G"])
    document = folder / "skyvyos.pkr.hcl"
    lines = document.read_text().splitlines()
    lines = [line for line in lines if not line.lstrip().startswith(('["-kernel', '["-initrd', '["-append'))]
    monitor = '["-vnc", "none"], ["-monitor", "unix:monitor,server,nowait"],'
    text = "\n".join(lines).replace('["-vnc", "none"],', monitor)
    document.write_text(text)
    with command.start(["packer", "build", "."], cwd=folder, env=PACKER):
        _until(lambda: (folder / "monitor").exists())
        network, devices = _asked(folder, "info usernet"), _asked(folder, "info qtree")
        (port,) = re.findall(r"TCP\[HOST_FORWARD\] +\d+ +127\.0\.0\.1 +(\d+) +\S+ +22\b", network)
        assert network.count("HOST_FORWARD") == 1
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        wanted = f"{int(port):04X}"
        assert [line[1] for line in listening if line[1].endswith(f":{wanted}") and line[3] == "0A"] == [
            f"0100007F:{wanted}"
        ]
    assert re.search(rf'dev: {card}, id "".*?netdev = "user.0"', devices, re.DOTALL)


def _until(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _asked(folder: Path, question: str) -> str:
    """What QEMU's monitor says."""
    with socket.socket(socket.AF_UNIX) as channel:
        # By the folder's descriptor, for a socket's path may have 107 bytes.
        descriptor = os.open(folder, os.O_PATH)
        channel.connect(f"/proc/self/fd/{descriptor}/monitor")
        os.close(descriptor)
        channel.settimeout(10)
        answer = b""
        channel.sendall(f"{question}\n".encode())
        while answer.count(b"(qemu)") < 2:
            answer += channel.recv(65536)
        return answer.decode()
