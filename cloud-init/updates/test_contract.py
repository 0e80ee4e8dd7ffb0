"""The contract of role updates."""

import re

import pytest


@pytest.mark.requirement("APT-1")
def test_every_repository_has_a_key_of_its_own(host):
    """Repositories are in deb822 form, each bound to a keyring that is there; no key is trusted for all of them."""
    script = """
        cat /etc/apt/sources.list.d/*.sources
        echo =====
        find /etc/apt/trusted.gpg /etc/apt/trusted.gpg.d -type f 2>/dev/null
        find /etc/apt -name '*.list' -path '*sources*' -size +0
    """
    text, _, loose = host.check_output(script).partition("=====")
    assert loose.strip() == ""
    stanzas = [stanza for stanza in re.split(r"\n\s*\n", text.strip()) if "Types:" in stanza]
    assert stanzas
    keyrings = [re.findall(r"^Signed-By: (/\S+)$", stanza, re.M) for stanza in stanzas]
    assert all(keyrings)
    assert host.run("ls " + " ".join(path for found in keyrings for path in found)).rc == 0
    assert not re.search(r"^Trusted:\s*yes|\[.*trusted=yes", text, re.M | re.I)


@pytest.mark.requirement("APT-1")
def test_stable_updates_and_security_are_all_there(host, spec):
    """Debian's release, its updates and its security archive are read, component main."""
    # Needs no network, and no lists, which a clone does not have yet.
    uris = host.check_output("apt-get update --print-uris")
    found = set(re.findall(r"/dists/([^/']+)/(?:In)?Release'", uris))
    assert {f"{spec.debian}{part}" for part in ("", "-updates", "-security")} <= found
    debian = host.check_output("cat /etc/apt/sources.list.d/debian.sources")
    assert set(re.findall(r"^Components: (.*)$", debian, re.M)) == {"main"}


@pytest.mark.requirement("UPD-1")
def test_only_security_updates_install_themselves_and_nothing_reboots(host, settings):
    """The origins are those of the settings, looked for daily, without a reboot that nobody asked for."""
    dump = host.check_output("apt-config dump")
    origins = re.findall(r'^Unattended-Upgrade::Origins-Pattern:: "(.*)";', dump, re.M)
    assert len(origins) == (3 if settings["stable_updates"] else 1)
    assert "label=Debian-Security" in origins[0]
    wanted = f'Unattended-Upgrade::Automatic-Reboot "{str(settings["automatic_reboot"]).lower()}";'
    assert wanted in dump
    assert f'Unattended-Upgrade::Automatic-Reboot-Time "{settings["reboot_time"]}";' in dump
    assert re.findall(r'^Unattended-Upgrade::Package-Blacklist:: "(.*)";', dump, re.M) == settings["hold"]
    for key in ("Update-Package-Lists", "Unattended-Upgrade"):
        assert f'APT::Periodic::{key} "1";' in dump
    timers = host.check_output("systemctl is-active apt-daily.timer apt-daily-upgrade.timer").split()
    assert timers == ["active", "active"]


@pytest.mark.once
@pytest.mark.requirement("UPD-1")
def test_unattended_upgrade_works(host):
    """A dry run succeeds."""
    assert host.run("unattended-upgrade --dry-run").rc == 0
