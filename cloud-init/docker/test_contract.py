"""The contract of role docker."""

import json

import pytest

NAME = "skyvyos-contract"
US, THEM = "203.0.113.1", "203.0.113.2"
PUBLISHED, INSIDE, OUTSIDE = 8080, 80, 8079

# Answers on a port with the words that it got from a server outside.
SERVER = """
$| = 1;
my $server = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die;
while (my $caller = $server->accept) {
    my $outside = $ARGV[1] ? IO::Socket::INET->new(PeerAddr => $ARGV[1], Timeout => 5) : undef;
    print $caller $ARGV[1] ? ($outside ? scalar <$outside> : "cut off\\n") : "from outside\\n";
    close $caller;
}
"""
# Of the machine's own files: perl, what it is linked to, and what it loads. No hub can be reached from everywhere.
IMAGE = f"""
    set -e
    cd /
    loaded='print "$_\\n" for values %INC, @DynaLoader::dl_shared_objects'
    files=$(perl -MIO::Socket::INET -MIO::Select -MErrno -e "$loaded")
    files="$files $(ldd usr/bin/perl | grep -o '/[^ ]*' | sed 's,^/lib,/usr/lib,')"
    # Each once: a file that is named twice is written as a link to itself, which Docker refuses.
    files=$(printf '%s\\n' $files $(readlink -f $files) | sed 's,^/,,' | sort -u)
    tar -c bin lib lib64 usr/bin/perl $files 2>/dev/null | docker import - {NAME} >/dev/null
"""


@pytest.fixture(scope="module")
def container(host):
    """A server in a container, its port published, which asks a server in a neighbouring machine for its answer."""
    host.check_output(f"""{IMAGE}
        cat >/run/{NAME}.pl <<'END'\n{SERVER}\nEND
        ip netns add {NAME}
        ip link add skyvyos-d0 type veth peer name skyvyos-d1 netns {NAME}
        ip address add {US}/30 dev skyvyos-d0
        ip link set skyvyos-d0 up
        ip -n {NAME} address add {THEM}/30 dev skyvyos-d1
        ip -n {NAME} link set skyvyos-d1 up
        systemd-run --quiet --collect --unit={NAME} \
            ip netns exec {NAME} perl -MIO::Socket::INET /run/{NAME}.pl {OUTSIDE}
        docker run -d --name {NAME} -p {PUBLISHED}:{INSIDE} {NAME} \
            /usr/bin/perl -MIO::Socket::INET -e "$(cat /run/{NAME}.pl)" {INSIDE} {THEM}:{OUTSIDE}
    """)
    yield
    host.run(f"""
        docker rm -f {NAME}; docker rmi -f {NAME}; systemctl stop {NAME}
        ip netns delete {NAME}; ip link delete skyvyos-d0; rm -f /run/{NAME}.pl
    """)


def ask(host, address, port, inside="", tries=1):
    """What a server says, or nothing; Docker's proxy takes a caller, and hangs up, before the container listens."""
    once = f"{inside} timeout 20 bash -c 'cat </dev/tcp/{address}/{port}' 2>/dev/null"
    return host.run(f"for n in $(seq {tries}); do {once} | grep . && exit; sleep 1; done").stdout.strip()


@pytest.mark.requirement("DOC-1", "DOC-2", "SRV-1")
def test_the_engine_runs_as_it_should(host, settings):
    """overlay2, a bridge, rotated logs and live restore; engine, command and containerd are there."""
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["Driver"] == "overlay2"
    assert info["LoggingDriver"] == "json-file"
    assert info["LiveRestoreEnabled"] == settings["live_restore"]
    assert "bridge" in info["Plugins"]["Network"]
    assert any("apparmor" in option for option in info["SecurityOptions"])
    mirrors = [url.rstrip("/") for url in info["RegistryConfig"]["Mirrors"] or []]
    assert mirrors == [url.rstrip("/") for url in settings["registry_mirrors"]]
    if settings["bridge_address"]:
        bridge = host.check_output("ip -o -4 address show docker0")
        assert f" {settings['bridge_address']} " in bridge
    for service in ("docker", "containerd"):
        assert host.service(service).is_running


@pytest.mark.once
@pytest.mark.requirement("DOC-1", "DOC-2")
def test_compose_is_there(host, settings):
    """Compose starts: Docker's plugin, or the older program where the spec accepts it."""
    command = "docker-compose" if settings["accept"] == "compose-v1" else "docker compose"
    assert host.run(f"{command} version").rc == 0


@pytest.mark.once
@pytest.mark.usefixtures("container")
@pytest.mark.requirement("DOC-1")
def test_a_container_runs_with_rotated_logs(host, settings):
    """A container made of the machine's own files runs, gains no rights, and its log has a limit."""
    pid, options = host.check_output(
        f"docker inspect --format '{{{{.State.Pid}}}} {{{{json .HostConfig.LogConfig.Config}}}}' {NAME}"
    ).split(maxsplit=1)
    rights = host.check_output(f"grep NoNewPrivs /proc/{pid}/status").split()
    assert rights[1] == ("1" if settings["no_new_privileges"] else "0")
    log = {"max-size": settings["log_max_size"], "max-file": str(settings["log_max_files"])}
    assert json.loads(options) == log


@pytest.mark.once
@pytest.mark.usefixtures("container")
@pytest.mark.requirement("FW-3", "DOC-1")
def test_a_published_port_stays_behind_the_firewall(host, clone, roles):
    """A published port answers on the machine itself, and from outside only once UFW allows it; the way out is free."""
    said = ask(host, "127.0.0.1", PUBLISHED, tries=60)
    assert said == "from outside", "the container must reach out"
    if "firewall" not in roles:
        pytest.skip("there is no firewall in this template: published ports are open, as Docker means them to be")
    neighbour = f"ip netns exec {NAME}"
    assert host.run(f"{neighbour} timeout 4 bash -c ': </dev/tcp/{US}/{PUBLISHED}'").rc != 0
    assert not clone.answers(PUBLISHED, 5)
    host.check_output(f"ufw route allow proto tcp to any port {INSIDE}")
    try:
        assert ask(host, US, PUBLISHED, neighbour) == "from outside"
        assert clone.answers(PUBLISHED)
    finally:
        host.check_output(f"ufw route delete allow proto tcp to any port {INSIDE}")
    assert not clone.answers(PUBLISHED, 5)


@pytest.mark.once
@pytest.mark.requirement("FW-3")
def test_the_rules_outlive_a_reload_of_the_firewall(host, roles):
    """After `ufw reload` Docker's chain still ends with the firewall's rule."""
    if "firewall" not in roles:
        pytest.skip("there is no firewall in this template")
    host.check_output("ufw reload")
    for tool, chain in (("iptables", "ufw-user-forward"), ("ip6tables", "ufw6-user-forward")):
        rules = [line for line in host.check_output(f"{tool} -S DOCKER-USER").splitlines() if line.startswith("-A")]
        assert f"-A DOCKER-USER -j {chain}" in rules
        assert "-A DOCKER-USER -j DROP" in rules
    assert "-A FORWARD -j DOCKER-USER" in host.check_output("iptables -S FORWARD")


@pytest.mark.requirement("RES-3")
def test_the_engine_outlives_a_shortage_of_memory(host):
    """The OOM killer looks for another victim."""
    for service in ("docker", "containerd"):
        assert int(host.check_output(f"systemctl show -P OOMScoreAdjust {service}.service")) < 0
