import json
import os

import pytest

from skyvypack import accelerator
from skyvypack.accelerator import Accelerator, choose, qemu_version
from skyvypack.errors import InputError, ToolMissing

VERSION = """case "$*" in *--version*) echo 'QEMU emulator version 7.2.22 (Debian 1:7.2)'; exit 0 ;; esac
echo "$*" >> "$(dirname "$0")/boots"
"""
SPEAKS = "echo '[    0.000000] Linux version 6.12.1'; exec sleep 60"
SILENT = "echo 'SeaBIOS (version 1.16.2)'; exec sleep 60"
ABORTS = "echo 'qemu: property host-x86_64-cpu.arch-capabilities not found' >&2; kill -ABRT $$"
ABORTS_AS_HOST = f'case "$*" in *"host,-arch-capabilities"*) {SPEAKS} ;; esac\n{ABORTS}'


@pytest.fixture
def host(tmp_path, monkeypatch, fake_tool):
    """A host with a /dev/kvm that opens and a QEMU of the test's own; `host(script)` gives the choice of a kernel."""
    kvm, kernel = tmp_path / "kvm", tmp_path / "vmlinuz"
    kvm.touch()
    kernel.write_bytes(b"bzImage")
    monkeypatch.setattr(accelerator, "_KVM", kvm)
    monkeypatch.setattr(accelerator, "_PROBE_SECONDS", 0.4)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(accelerator, "_host_kernel", lambda: None)

    def make(script, wish="auto", kernel=kernel):
        tool = fake_tool("qemu-system-x86_64", VERSION + script)
        make.boots = tool.parent / "boots"
        return choose(kernel, wish, cache=tmp_path)

    make.kvm, make.kernel = kvm, kernel
    return make


def test_kernel_that_speaks_under_kvm_proves_kvm(host):
    """The first console line of a kernel makes the choice KVM, at full speed."""
    chosen = host(SPEAKS)
    assert (chosen.name, chosen.scale) == ("kvm", 1.0)
    assert chosen.qemu_args == ("-accel", "kvm", "-cpu", "host")
    assert "-accel kvm" in host.boots.read_text()


def test_kvm_under_which_a_kernel_is_silent_is_not_taken(host):
    """Firmware that prints proves nothing: a kernel's silence means TCG, with the reason and longer deadlines."""
    chosen = host(SILENT)
    assert chosen.name == "tcg"
    assert "a kernel prints nothing within" in chosen.reason
    assert chosen.qemu_args == ("-accel", "tcg,thread=multi", "-cpu", "max")
    assert chosen.scale >= 5


def test_qemu_that_aborts_with_the_hosts_cpu_gets_a_lesser_one(host):
    """Where -cpu host makes QEMU abort, the CPU that works is chosen and named."""
    chosen = host(ABORTS_AS_HOST)
    assert (chosen.name, chosen.qemu_args[-1]) == ("kvm", "host,-arch-capabilities")


def test_qemu_that_aborts_always_means_tcg(host):
    """An abort is survived, and its last words are the reason."""
    chosen = host(ABORTS)
    assert chosen.name == "tcg"
    assert "QEMU gives up: qemu: property" in chosen.reason


def test_answer_is_kept_for_the_same_kernel_and_asked_again_for_another(host):
    """The probe runs once for a kernel, not once for a bake; a damaged answer is no answer."""
    first = host(SPEAKS)
    assert host(SPEAKS) == first
    assert len(host.boots.read_text().splitlines()) == 1
    host.kernel.write_bytes(b"another")
    host(SPEAKS)
    assert len(host.boots.read_text().splitlines()) == 2
    (host.kernel.parent / "accelerator.json").write_text('{"x": 1}')
    again = host(SPEAKS)  # its reason tells how long this probe took
    assert (again.name, again.qemu_args) == (first.name, first.qemu_args)
    assert len(host.boots.read_text().splitlines()) == 3


def test_answers_of_an_earlier_boot_are_dropped(host):
    """The cache file does not grow with every reboot of the host."""
    answers = host.kernel.parent / "accelerator.json"
    answers.write_text(json.dumps({"earlier boot / x": ["host", "was fine"]}))
    host(SPEAKS)
    assert [key.startswith(accelerator._boot_id()) for key in json.loads(answers.read_text())] == [True]


def test_without_dev_kvm_nothing_is_probed(host):
    """No /dev/kvm, no probe."""
    host.kvm.unlink()
    assert "no /dev/kvm" in host(SPEAKS).reason
    assert not host.boots.exists()


def test_without_a_kernel_kvm_is_not_trusted(host):
    """What cannot be proven is not assumed."""
    chosen = host(SPEAKS, kernel=None)
    assert chosen.name == "tcg"
    assert "no kernel" in chosen.reason


def test_tcg_can_be_asked_for(host):
    """The wish for TCG is granted without a probe."""
    assert host(SPEAKS, "tcg").name == "tcg"
    assert not host.boots.exists()


def test_kvm_that_is_insisted_on_and_does_not_work_is_an_input_error(host):
    """Insisting on KVM gives the reason why not, instead of a bake that hangs."""
    with pytest.raises(InputError, match=r"KVM was asked for, but .* prints nothing"):
        host(SILENT, "kvm")
    assert host.boots.read_text().count("-accel kvm") == 1


def test_one_cpu_doubles_the_deadlines(host, monkeypatch):
    """Deadlines are those of two CPUs; with one they double."""
    two = host(SILENT).scale
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert host(SILENT).scale == 2 * two


@pytest.mark.parametrize("says", ["QEMU emulator version 5.2.0 (Debian 1:5.2)", "something else"])
def test_old_qemu_is_refused(fake_tool, says):
    """A QEMU before 6, and a program of that name that is none, is a missing tool."""
    fake_tool("qemu-system-x86_64", f"echo '{says}'")
    with pytest.raises(ToolMissing, match="too old"):
        qemu_version()


@pytest.mark.tool
def test_installed_qemu_names_its_version():
    """The version of the real QEMU is understood."""
    assert int(qemu_version().split(".")[0]) >= accelerator.OLDEST_QEMU


def test_translated_guests_divide_the_processors(monkeypatch):
    """They get their share, one at least, and never more than the host has; with KVM, what they want."""
    kvm, tcg = (Accelerator(name, "test", (), 1.0) for name in ("kvm", "tcg"))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert kvm.cpus(4, 2) == 4
    assert tcg.cpus(4, 2) == 2
    assert tcg.cpus(1, 2) == 1
    assert tcg.cpus(8, 1) == 4
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert tcg.cpus(2, 2) == 1
