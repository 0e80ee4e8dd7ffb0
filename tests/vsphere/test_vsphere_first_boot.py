"""First boot on vSphere: cloud-init's own datasources read what we write."""

from __future__ import annotations

import base64
import gzip
import os
import random
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from skyvypack import ovf
from skyvypack.cli.app import cli
from skyvypack.errors import InputError
from skyvypack.spec import loads
from skyvypack.targets.vsphere.first_boot import LIMIT, settings

SPEC = "name: web\nversion: 1.0.0\nroles: [base]\n"
USER_DATA = "#cloud-config\nhostname: grüße\n"


def test_encoded() -> None:
    """Values are compressed and in base64, the encoding stands beside each, and the instance id is in the metadata."""
    made = settings(USER_DATA, instance="i-1", hostname="web1")
    assert gzip.decompress(base64.b64decode(made["guestinfo.userdata"])).decode() == USER_DATA
    assert made["guestinfo.userdata.encoding"] == made["guestinfo.metadata.encoding"] == "gzip+base64"
    metadata = gzip.decompress(base64.b64decode(made["guestinfo.metadata"])).decode()
    assert metadata == '{"instance-id": "i-1", "local-hostname": "web1"}'


def test_too_large() -> None:
    """What a setting cannot hold is refused, with both sizes and the limit."""
    noise = base64.b85encode(random.Random(1).randbytes(60_000)).decode()
    with pytest.raises(InputError, match=rf"guestinfo.userdata takes {LIMIT}"):
        settings(noise, instance="i-1")


def test_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`user-data --target vsphere` prints what to set, a line each, as `govc vm.change -e` takes it."""
    monkeypatch.chdir(tmp_path)
    Path("skyvypack.yaml").write_text(SPEC)
    result = CliRunner().invoke(cli, ["user-data", "--target", "vsphere", "--hostname", "web1"])
    lines = dict(line.split("=", 1) for line in result.stdout.splitlines())
    assert list(lines) == [
        f"guestinfo.{name}" for name in ("metadata", "metadata.encoding", "userdata", "userdata.encoding")
    ]
    text = gzip.decompress(base64.b64decode(lines["guestinfo.userdata"])).decode()
    assert text.startswith("#cloud-config\n")
    assert "hostname: web1" in text


_CLOUD_INIT = "/usr/bin/python3"
_VMWARE = """
import sys
from cloudinit import helpers, settings
from cloudinit.sources import DataSourceVMware as module
paths = helpers.Paths({"cloud_dir": sys.argv[1], "run_dir": sys.argv[1]})
module.wait_on_network = lambda metadata: {}
source = module.DataSourceVMware(settings.CFG_BUILTIN, None, paths)
assert source._get_data(), "not found"
print(source.metadata["instance-id"])
print(source.metadata["local-hostname"])
sys.stdout.write(source.get_userdata_raw() if isinstance(source.get_userdata_raw(), str) else
                 source.get_userdata_raw().decode())
"""
_OVF = """
import sys
from cloudinit.sources import DataSourceOVF as module
metadata, user_data, config = module.read_ovf_environment(sys.stdin.read())
print(metadata["instance-id"])
print(metadata.get("local-hostname", metadata.get("hostname")))
sys.stdout.write(user_data.decode() if isinstance(user_data, bytes) else user_data)
"""


def cloud_init(script: str, *args: str, text: str = "", **environment: str) -> list[str]:
    """Run a script with the Python that Debian's cloud-init is installed for."""
    if subprocess.run([_CLOUD_INIT, "-c", "import cloudinit"], capture_output=True).returncode:
        pytest.skip("cloud-init is not installed")
    argv = [_CLOUD_INIT, "-c", script, *args]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(argv, input=text, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n", 2)


@pytest.mark.tool
def test_vmware_datasource(tmp_path: Path) -> None:
    """cloud-init's VMware datasource reads the settings back, here by the environment in place of the hypervisor."""
    made = settings(USER_DATA, instance="i-1", hostname="web1")
    variables = {"VMX_" + key.upper().replace(".", "_"): value for key, value in made.items()}
    found = cloud_init(_VMWARE, str(tmp_path), VMX_GUESTINFO="1", **variables)
    assert found == ["i-1", "web1", USER_DATA]


@pytest.mark.tool
def test_ovf_datasource() -> None:
    """The OVF's properties are those that cloud-init's OVF datasource reads from what vCenter makes of them."""
    envelope = ElementTree.fromstring(ovf.descriptor(loads(SPEC), ovf.Disk("web.vmdk", 1, 1 << 20)))
    space = "{http://schemas.dmtf.org/ovf/envelope/1}"
    keys = [one.get(f"{space}key") for one in envelope.iter(f"{space}Property")]
    given = {"instance-id": "i-1", "hostname": "web1", "user-data": base64.b64encode(USER_DATA.encode()).decode()}
    assert keys == list(given)
    properties = "".join(f'<Property oe:key="{key}" oe:value="{given[key or ""]}"/>' for key in keys)
    name = "http://schemas.dmtf.org/ovf/environment/1"
    text = (
        f'<Environment xmlns="{name}" xmlns:oe="{name}"><PropertySection>{properties}</PropertySection></Environment>'
    )
    assert cloud_init(_OVF, text=text) == ["i-1", "web1", USER_DATA]
