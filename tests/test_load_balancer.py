"""The worked example of a load balancer, on three guests of one template; and examples of one's own roles."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from skyvypack import seed
from skyvypack import spec as specs
from skyvypack.accelerator import choose
from skyvypack.link import Access
from skyvypack.machine import Hardware, Machine, wait

EXAMPLES = Path(__file__).parent.parent / "examples"
# What a guest of QEMU's user network reaches its host by.
HOST = "10.0.2.2"


def user_data(name: str, hostname: str, key: str, servers: Sequence[str] = ()) -> str:
    """An example's user-data as its reader would finish it: with a name, a key and addresses of web servers."""
    text = (EXAMPLES / "load-balancer" / name).read_text()
    for number, server in enumerate(servers, 11):
        assert f"10.0.0.{number}:80" in text
        text = text.replace(f"10.0.0.{number}:80", server)
    config = yaml.safe_load(text)
    config["hostname"] = hostname
    config["users"][0]["ssh_authorized_keys"] = [key]
    return "#cloud-config\n" + yaml.safe_dump(config, sort_keys=False)


def test_the_example_of_ones_own_role_is_sound() -> None:
    """It loads, its role has files and a unit, and a wrong setting of it is told."""
    spec = specs.load(EXAMPLES / "own-role" / "skyvypack.yaml")
    role = spec.roles[-1]
    assert (role.name, role.settings) == ("status", {"minutes": 5})
    assert "status-page.timer" in role.services.enable
    assert spec.title in {file.path: file.text for file in role.files}["/usr/local/sbin/status-page"]
    text = (EXAMPLES / "own-role" / "skyvypack.yaml").read_text().replace("minutes: 5", "minutes: 60")
    with pytest.raises(specs.reader.SpecError, match="too large: at most 59"):
        specs.loads(text, EXAMPLES / "own-role")


@pytest.mark.parametrize("name", ["web.yaml", "balancer.yaml"])
def test_the_examples_user_data_is_a_cloud_config(name: str) -> None:
    """It names the clone, makes one account without a password, and no key of ours is in it."""
    text = (EXAMPLES / "load-balancer" / name).read_text()
    config: dict[str, Any] = yaml.safe_load(text)
    assert text.startswith("#cloud-config\n")
    assert config["hostname"]
    assert config["users"][0]["ssh_authorized_keys"] == []
    assert config["users"][0]["lock_passwd"] is True


class Guests:
    """Clones of the test's disk."""

    def __init__(self, folder: Path, disk: Path, stack: ExitStack) -> None:
        self.folder, self.disk, self.stack = folder, disk, stack
        self.key, self.public = seed.keypair(folder)
        self.accelerator = choose(None, cache=folder)

    def start(self, name: str, config: str) -> Machine:
        """Power a clone on, with a seed of its own."""
        folder = self.folder / name
        folder.mkdir()
        made = Machine(
            name,
            self.disk,
            folder / "machine",
            accelerator=self.accelerator,
            access=Access("admin", self.key),
            seed=seed.make(folder, config, yaml.safe_dump({"instance-id": name})),
            hardware=Hardware("bios", "virtio-blk", 1, 1024),
        )
        return self.stack.enter_context(made)


@pytest.fixture
def guests(tmp_path: Path) -> Iterator[Guests]:
    disk = os.environ.get("SKYVYPACK_TEST_DISK")
    if not disk:
        pytest.skip("SKYVYPACK_TEST_DISK names no finished disk with the role nginx")
    with ExitStack() as stack:
        yield Guests(tmp_path, Path(disk), stack)


def served_by(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return str(answer.read().decode().partition("served by ")[2].partition("<")[0])


@pytest.mark.boot
@pytest.mark.requirement("DEP-4")
def test_two_web_servers_share_the_requests_and_one_alone_answers_them_all(guests: Guests) -> None:
    """Both answer through the balancer; when one is gone, every request still has an answer."""
    webs = [guests.start(name, user_data("web.yaml", name, guests.public)) for name in ("web1", "web2")]
    for web in webs:
        wait(web.connecting(120))
    for web in webs:
        wait(web.settling(120))
    servers = [f"{HOST}:{web.monitor.forward(80)}" for web in webs]
    balancer = guests.start("balancer", user_data("balancer.yaml", "balancer", guests.public, servers))
    wait(balancer.connecting(120))
    wait(balancer.settling(120))
    url = f"http://127.0.0.1:{balancer.monitor.forward(80)}/"
    assert {served_by(url) for _ in range(20)} == {"web1", "web2"}
    webs[0].run("sudo systemctl stop nginx")
    assert {served_by(url) for _ in range(10)} == {"web2"}
