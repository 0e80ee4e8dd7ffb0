"""The contract of role accounts."""

import re

import pytest

ACCOUNT = "skyvyos-contract"
STRONG = "Kq7!wRv9#tGz2%mPx5&bLq8HdTf3*nYc6Jk" * 4


@pytest.fixture
def account(host):
    """A throw-away account, made the way an administrator would."""
    host.run(f"userdel -rf {ACCOUNT}")
    host.check_output(f"useradd -m -s /bin/sh {ACCOUNT}")
    yield ACCOUNT
    host.run(f"userdel -rf {ACCOUNT}")


@pytest.mark.once
@pytest.mark.requirement("PWD-1")
def test_a_weak_password_is_refused_and_a_strong_one_is_hashed_with_yescrypt(host, account, settings):
    """Too short, or of too few classes: refused, though root sets it; a strong one is stored as yescrypt."""
    assert host.run(f"echo '{account}:{STRONG[: settings['password_min_length'] - 1]}' | chpasswd").rc != 0
    if settings["password_classes"] > 1:
        assert host.run(f"echo '{account}:qvxhzkwjrtnbmplsdgfc' | chpasswd").rc != 0
    host.check_output(f"echo '{account}:{STRONG}' | chpasswd")
    assert host.check_output(f"getent shadow {account}").split(":")[1].startswith("$y$")


@pytest.mark.once
@pytest.mark.requirement("PWD-1", "FS-1")
def test_files_of_a_new_account_are_its_own(host, account, settings):
    """Its home is 0750, its files are not readable by others, and its password ages."""
    assert host.check_output(f"stat -c %a /home/{account}") == "750"
    assert host.check_output(f"su - {account} -c umask").endswith("027")
    ageing = host.check_output(f"getent shadow {account}").split(":")[3:6]
    keys = ("password_min_days", "password_max_days", "password_warn_days")
    assert ageing == [str(settings[key]) for key in keys]


@pytest.mark.once
@pytest.mark.requirement("PWD-1")
def test_wrong_passwords_lock_an_account(host, account, settings):
    """Each wrong password counts, the set number of them locks, and the lock can be lifted."""
    host.check_output(f"echo '{account}:{STRONG}' | chpasswd")
    # su as nobody, as root is not asked for a password.
    attempt = f"echo wrong | setpriv --reuid=nobody --regid=nogroup --clear-groups su {account} -c true"
    # Together, as each wrong one is made to wait.
    host.run(f"for n in $(seq {settings['lockout_attempts']}); do {attempt} & done; wait")
    failures = host.check_output(f"faillock --user {account}")
    assert len(re.findall(r"\sV$", failures, re.M)) >= settings["lockout_attempts"]
    right = attempt.replace("wrong", f"'{STRONG}'")
    assert host.run(right).rc != 0, "the right password opens a locked account"
    host.check_output(f"faillock --user {account} --reset")
    assert host.run(right).rc == 0


@pytest.mark.requirement("PWD-1")
def test_an_old_password_does_not_lock_out_a_key(host):
    """Accounts that log in by key are not asked for a new password when the old one's time is over."""
    lines = host.check_output("grep -E '^account.*pam_unix' /etc/pam.d/common-account").splitlines()
    assert "no_pass_expiry" in lines[0]


@pytest.mark.requirement("PWD-1")
def test_login_defs_says_the_policy(host, settings):
    """login.defs has each key once, with the value of the settings."""
    wanted = {
        "UMASK": "027",
        "HOME_MODE": "0750",
        "ENCRYPT_METHOD": "YESCRYPT",
        "PASS_MAX_DAYS": str(settings["password_max_days"]),
        "PASS_MIN_DAYS": str(settings["password_min_days"]),
        "PASS_WARN_AGE": str(settings["password_warn_days"]),
    }
    lines = [line.split() for line in host.check_output("grep -E '^[A-Z]' /etc/login.defs").splitlines()]
    found = [(line[0], line[1]) for line in lines if line[0] in wanted]
    assert sorted(found) == sorted(wanted.items())


@pytest.mark.once
@pytest.mark.requirement("PWD-1")
def test_an_idle_login_shell_ends(host, settings):
    """A login shell has the set time to wait for a command and cannot change it; what it starts knows nothing of it."""
    script = """su - nobody -s /bin/bash <<'END'
        echo "${TMOUT:-0}"
        bash -c 'echo "${TMOUT:-unset}"'
        (TMOUT=1) 2>/dev/null && echo changed || echo stays
END"""
    idle = settings["idle_logout"]
    assert host.check_output(script).split() == [str(idle), "unset", "stays" if idle else "changed"]
