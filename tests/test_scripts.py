import json
import os
import re
import subprocess

import guests
import pytest

from skyvypack import assets, disk, runs, scan
from skyvypack.spec import loads

SCRIPTS = assets.builders() / "shared" / "scripts"


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.iterdir()))
def test_script_is_posix_shell(name):
    """Every script of the build guest parses as sh and says on its first line that it is one."""
    script = SCRIPTS / name
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", script], check=True)


@pytest.fixture
def wait(tmp_path, fake_tool):
    """Runs wait.sh in a guest of which only cloud-init's status and log exist."""
    run, log = tmp_path / "run", tmp_path / "output.log"
    run.mkdir()
    fake_tool("systemctl", "exit 1")

    def make(status, *, finished=True, output=""):
        if status is not None:
            (run / "status.json").write_text(json.dumps({"v1": status}))
        if finished:
            (run / "result.json").write_text("{}")
        log.write_text(output)
        text = (SCRIPTS / "wait.sh").read_text()
        text = text.replace("/run/cloud-init", str(run)).replace("/var/log/cloud-init-output.log", str(log))
        text = text.replace("/var/lib/cloud", str(tmp_path / "cloud"))
        done = subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=20, env=os.environ)
        return done.returncode, done.stdout

    return make


def stage(**findings):
    return {"errors": [], "recoverable_errors": {}, "start": 1.0, "finished": 2.0} | findings


def test_done_is_done(wait):
    """A cloud-init that finished without a complaint lets the build go on."""
    code, said = wait({"stage": None, "datasource": "DataSourceNoCloud", "init": stage(), "modules-final": stage()})
    assert code == 0
    assert said.splitlines()[-1] == "skyvypack: cloud-init is done"


def test_other_user_data_than_was_handed_over_is_an_error(wait, tmp_path):
    """A platform's own disc with data must not be what configured the template; the same bytes go on."""
    for name in ("seed/nocloud/user-data", "instance/user-data.txt"):
        (tmp_path / "cloud" / name).parent.mkdir(parents=True)
        (tmp_path / "cloud" / name).write_text("#cloud-config\npackages: [nginx]\n")
    assert wait({"init": stage()})[0] == 0
    (tmp_path / "cloud/instance/user-data.txt").write_text("#cloud-config\nhostname: build\n")
    code, said = wait({"init": stage()})
    assert code == 1
    assert "skyvypack: error: init: cloud-init took other user-data than it was handed" in said


def test_error_of_bookworms_cloud_init_names_module_and_output(wait):
    """cloud-init 22.4 writes a module's error as a Python tuple; module, message and the log's end are shown."""
    error = "('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted commands'))"
    output = "ls: cannot access '/not/there'\nci-info: no authorized keys\nSHA256:abc root@x\n"
    code, said = wait({"modules-final": {"errors": [error]}}, output=output)
    assert code == 1
    assert "error: modules-final: module scripts_user: 'Runparts: 1 failures (runcmd) in 1 attempted commands'" in said
    assert "| ls: cannot access '/not/there'" in said
    assert "ci-info" not in said
    assert "SHA256" not in said


def test_error_that_cloud_init_calls_recoverable_fails_the_build(wait):
    """What 25.1 files under recoverable errors as ERROR is an error of a template all the same."""
    code, said = wait({"modules-config": stage(recoverable_errors={"ERROR": ["Failed to install packages: ['x']"]})})
    assert code == 1
    assert "error: modules-config: Failed to install packages" in said


def test_warning_is_shown_and_passes(wait):
    """A warning or a deprecation, even one that says error, leaves a working system; each is shown once."""
    message = "The key x has an error: it is deprecated"
    findings = stage(recoverable_errors={"DEPRECATED": [message]})
    code, said = wait({"init": findings, "modules-config": findings})
    assert code == 0
    assert said.count(message) == 1
    assert "warning: init:" in said


def test_cloud_init_that_crashed_fails_the_build(wait, fake_tool):
    """A stage of cloud-init that crashed never writes a result: that is an error, not a reason to wait."""
    fake_tool("systemctl", "exit 0")
    code, said = wait(None, finished=False)
    assert code == 1
    assert "cloud-init did not come to its end" in said


def test_failed_stage_is_no_reason_to_stop_waiting(wait, fake_tool, tmp_path):
    """bookworm fails a stage's unit for one module and goes on: the final stage's errors are waited for, too."""
    errors = {"modules-config": {"errors": ["('locale', x)"]}, "modules-final": {"errors": ["('scripts_user', y)"]}}
    fake_tool(
        "systemctl", f'case "$*" in *cloud-config*) exit 0 ;; esac; echo {{}} > {tmp_path}/run/result.json; exit 1'
    )
    code, said = wait(errors, finished=False)
    assert code == 1
    assert "did not come to its end" not in said
    assert "scripts_user" in said


def test_cloud_init_that_is_off_fails_the_build(wait, tmp_path):
    """Without a seed cloud-init switches itself off, and nothing was configured."""
    (tmp_path / "run" / "disabled").touch()
    code, said = wait(None, finished=False)
    assert code == 1
    assert "cloud-init did not come to its end" in said


@pytest.mark.boot
def test_guest_is_made_bootable_and_sealed_even_twice(tmp_path):
    """The finished disk has both boot loaders and a clean file system, and holds no trace of the build.

    Its sealing begins anew after all was cleaned, which changes nothing about that.
    """
    guest = guests.make(tmp_path)
    seal = guest.folder / "scripts" / "seal.sh"
    begin, cleaning, end = re.split(r'^(?=begin "(?:stopping what writes|writing out)")', seal.read_text(), flags=re.M)
    seal.write_text(begin + cleaning + cleaning + end)
    with runs.run_folder(tmp_path / "cache") as run:
        guest.build(run)
    (built,) = guest.output.iterdir()
    raw = tmp_path / "disk.raw"
    disk.convert(built, raw, "raw", source_format="qcow2")
    # As a bake does: a discard frees whole clusters of the disk file only.
    disk.zero_free(raw)
    root = disk.root(raw)
    assert b"LABEL=root / ext4 noatime" in root.read_path("/etc/fstab")
    assert root.read_path("/etc/machine-id") == b""
    assert b"root=UUID=" in root.read_path("/boot/grub/grub.cfg")
    with raw.open("rb") as file:
        assert b"GRUB" in file.read(512)
    assert next(disk.search(raw, [b"BOOTX64 EFI"]), None)
    key = guest.folder / "build" / "id_ed25519"
    assert scan.scan(raw, forbidden=scan.bake_key(key), spec=loads("name: g\nversion: 1.0.0\nroles: [base]\n")) == []
