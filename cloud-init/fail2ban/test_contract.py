"""The contract of role fail2ban."""

import pytest

SPACE = "skyvyos-contract"
US, THEM = "198.51.100.1", "198.51.100.2"
DENIED = "Permission denied (publickey)"


@pytest.fixture
def neighbour(host):
    """Another machine as the kernel sees it: a network namespace with an address of its own. Gives what enters it."""
    host.check_output(f"""
        set -e
        ip netns add {SPACE}
        ip link add skyvyos-c0 type veth peer name skyvyos-c1 netns {SPACE}
        ip address add {US}/30 dev skyvyos-c0
        ip link set skyvyos-c0 up
        ip -n {SPACE} address add {THEM}/30 dev skyvyos-c1
        ip -n {SPACE} link set skyvyos-c1 up
    """)
    yield f"ip netns exec {SPACE}"
    host.run(f"fail2ban-client unban {THEM}; ip netns delete {SPACE}; ip link delete skyvyos-c0")


@pytest.fixture(scope="module")
def told(host):
    """What the running server answers, by what it was asked: all by one start of its client, which takes seconds."""
    asked = ("status", "get sshd bantime", "get sshd findtime", "get sshd ignoreip")
    words = host.check_output(f"printf '%s\\n' {' '.join(map(repr, asked))} exit | fail2ban-client -i")
    return dict(zip(asked, words.split("fail2ban> ")[1:], strict=False))


@pytest.mark.requirement("F2B-1")
def test_the_jails_are_up(told, roles, settings):
    """fail2ban runs with a jail for sshd, for each kind of attack on nginx, and for who comes back."""
    wanted = {"sshd", "recidive"}
    if "nginx" in roles:
        wanted |= {"nginx-http-auth", "nginx-botsearch", "nginx-limit-req"}
    listed = told["status"].partition("Jail list:")[2]
    assert wanted - {name.strip() for name in listed.split(",")} == set()
    assert told["get sshd bantime"].strip() == str(settings["bantime"])
    assert told["get sshd findtime"].strip() == str(settings["findtime"])


@pytest.mark.once
@pytest.mark.requirement("F2B-1", "SSH-1")
def test_failed_logins_get_an_address_banned(host, neighbour, roles, settings):
    """After as many logins without a right key as the settings allow, sshd does not answer this address."""
    port = roles["ssh"]["port"] if "ssh" in roles else 22
    options = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20"
    login = f"{neighbour} ssh {options} -p {port} root@{US} true 2>&1"
    connect = f"{neighbour} timeout 3 bash -c ': </dev/tcp/{US}/{port}'"
    assert host.run(connect).rc == 0, "sshd must answer before the ban"
    assert DENIED in host.run(login).stdout
    more = f"for n in $(seq {settings['max_retry'] - 1}); do {login} & done; wait"
    failures = 1 + host.run(more).stdout.count(DENIED)
    while failures < settings["max_retry"]:  # on a busy machine some gave up before they were refused
        assert DENIED in host.run(login).stdout
        failures += 1
    script = f"for n in $(seq 60); do iptables -S f2b-sshd 2>/dev/null | grep {THEM} && exit 0; sleep 1; done; exit 1"
    logs = f"grep {THEM} /var/log/fail2ban.log; journalctl --no-pager -t sshd -t sshd-session | grep {THEM}"
    assert host.run(script).rc == 0, host.run(logs).stdout
    assert host.run(connect).rc != 0


@pytest.mark.once
@pytest.mark.requirement("F2B-1")
def test_a_jail_in_the_drop_in_folder_is_taken(host):
    """A file beside ours adds a jail for a service of one's own."""
    script = """
        jail=/etc/fail2ban/jail.d/zz-skyvyos-contract.local
        log=/var/log/dpkg.log
        trap 'rm -f $jail' EXIT
        printf '[contract]\\nenabled = true\\nlogpath = %s\\nfilter =\\nfailregex = ^bad <HOST>$\\n' $log >$jail
        fail2ban-client -d
    """
    assert "['start', 'contract']" in host.check_output(script)


@pytest.mark.requirement("F2B-1")
def test_this_machine_and_those_in_the_settings_are_never_banned(told, settings):
    """The list of addresses to ignore is that of the settings."""
    shown = told["get sshd ignoreip"]
    assert all(address in shown for address in ["127.0.0.0/8", "::1", *settings["ignore"]])
