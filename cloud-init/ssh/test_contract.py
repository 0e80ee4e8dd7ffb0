"""The contract of role ssh."""

import pytest

# What ssh-audit 3.9 has neither a failure nor a warning for.
POST_QUANTUM = {"mlkem768x25519-sha256", "sntrup761x25519-sha512", "sntrup761x25519-sha512@openssh.com"}
CLASSICAL = {"curve25519-sha256", "curve25519-sha256@libssh.org"}
CIPHERS = {"aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr", "aes192-ctr", "aes128-ctr"}
MACS = {"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "umac-128-etm@openssh.com"}
HOST_KEYS = {"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"}


@pytest.fixture(scope="module")
def effective(host):
    """What sshd does, after cloud-init and every drop-in."""
    found: dict[str, list[str]] = {}
    for line in host.check_output("sshd -T").splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.requirement("SSH-1")
def test_keys_are_the_only_way_in(effective):
    """No password, no keyboard-interactive, no root, also after cloud-init wrote its own drop-in."""
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "no",
        "permitemptypasswords": "no",
        "authenticationmethods": "publickey",
        "x11forwarding": "no",
    }
    assert {key: effective[key][0] for key in wanted} == wanted


@pytest.mark.requirement("SSH-1")
def test_the_server_offers_nothing_but_keys(host, settings):
    """Asked by a client without a key, the running server names publickey as the only method."""
    client = "ssh -v -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o PreferredAuthentications=none"
    answer = host.run(f"{client} -p {settings['port']} nobody@127.0.0.1 true").stderr
    offered = [line.partition("continue: ")[2] for line in answer.splitlines() if "that can continue" in line]
    assert [line.strip() for line in offered] == ["publickey"]


@pytest.mark.once
@pytest.mark.requirement("SSH-1")
def test_real_logins_by_password_and_of_root_are_refused(host, settings):
    """A client with the right password is refused; root is, with a key that lets another account in."""
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes"
    script = f"""
        name=skyvyos-contract-login
        folder=$(mktemp -d)
        kept=$(test ! -e /root/.ssh || echo yes)
        trap 'userdel -rf $name 2>/dev/null; rm -rf $folder; test -n "$kept" || rm -rf /root/.ssh' EXIT
        useradd -m -s /bin/sh $name
        word='Kq7!wRv9#tGz2%mPx5&bLq8'
        echo "$name:$word" | chpasswd
        printf '#!/bin/sh\\necho "%s"\\n' "$word" >$folder/ask
        chmod 700 $folder/ask
        ssh-keygen -q -t ed25519 -N '' -f $folder/key
        install -d -m 700 -o $name -g $name /home/$name/.ssh
        install -m 600 -o $name -g $name $folder/key.pub /home/$name/.ssh/authorized_keys
        test -n "$kept" || install -D -m 600 $folder/key.pub /root/.ssh/authorized_keys
        ssh="ssh {options} -p {settings["port"]}"
        export SSH_ASKPASS=$folder/ask SSH_ASKPASS_REQUIRE=force
        $ssh -o PubkeyAuthentication=no $name@127.0.0.1 echo in by password 2>&1
        $ssh -o BatchMode=yes -i $folder/key root@127.0.0.1 echo in as root 2>&1
        $ssh -o BatchMode=yes -i $folder/key $name@127.0.0.1 echo in by key 2>&1
    """
    password, root, key = host.run(script).stdout.splitlines()
    assert "Permission denied (publickey)" in password
    assert "Permission denied (publickey)" in root
    assert settings["allow_users"] or key == "in by key"


@pytest.mark.requirement("SSH-2")
def test_only_strong_algorithms_are_offered(effective, settings):
    """Key exchanges, ciphers, MACs and host keys are all of those that ssh-audit has no complaint about."""
    exchanges = POST_QUANTUM | (CLASSICAL if settings["classical_key_exchange"] else set())
    for key, strong in (
        ("kexalgorithms", exchanges),
        ("ciphers", CIPHERS),
        ("macs", MACS),
        ("hostkeyalgorithms", HOST_KEYS),
    ):
        assert set(effective[key][0].split(",")) - strong == set(), key


@pytest.mark.requirement("SSH-2", "BAS-7")
def test_host_keys_are_strong_and_of_this_machine(host, effective):
    """Ed25519 and RSA of 3072 bits or more, made on this machine's first boot."""
    script = "for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done"
    keys = {line.split()[-1]: int(line.split()[0]) for line in host.check_output(script).splitlines()}
    assert set(keys) == {"(ED25519)", "(RSA)"}
    assert keys["(RSA)"] >= 3072
    assert len(effective["hostkey"]) == 2
    made = host.check_output("stat -c %Y /etc/ssh/ssh_host_ed25519_key /etc/machine-id").split()
    assert abs(int(made[0]) - int(made[1])) < 3600


def test_settings_hold(host, effective, settings):
    """Port, tries, accounts and forwarding follow the settings, and sshd listens there."""
    assert effective["port"] == [str(settings["port"])]
    assert effective["maxauthtries"] == [str(settings["max_auth_tries"])]
    assert effective.get("allowusers", []) == settings["allow_users"]
    assert effective["allowtcpforwarding"] == ["yes" if settings["tcp_forwarding"] else "no"]
    assert host.socket(f"tcp://0.0.0.0:{settings['port']}").is_listening


@pytest.mark.requirement("RES-3")
def test_sshd_outlives_a_shortage_of_memory(host):
    """The OOM killer looks for another victim."""
    assert int(host.check_output("systemctl show -P OOMScoreAdjust ssh.service")) < 0
