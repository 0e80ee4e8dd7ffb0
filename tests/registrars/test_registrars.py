"""What every registrar keeps: the suite runs over each one that has an adapter."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapters import FakeProver

from skyvypack.errors import ContractFailed, InputError, SkyvypackError
from skyvypack.registrar import Journal, PreflightFailed, RegistrarError, Wishes, describe, plan, reap, retire

JOURNALED = ("verify", "job", "channel", "retire")


def journals(target: str) -> list[Path]:
    return list(Journal(target).folder.glob("*.jsonl"))


def changes(adapter: Any, act: Callable[[], Any]) -> list[str]:
    """The requests that changed the platform while something was done."""
    seen: list[str] = []
    with adapter.hooked(seen.append):
        act()
    return seen


class Strike:
    """A hook that raises at one request, once."""

    def __init__(self, number: int, error: BaseException) -> None:
        self.number = number
        self.error = error
        self.seen = 0

    def __call__(self, call: str) -> None:
        self.seen += 1
        if self.seen == self.number + 1:
            raise self.error


def struck(adapter: Any, act: Callable[[], Any], number: int, error: BaseException, *, lost: bool) -> bool:
    """Do something while one request fails; False when there are not that many.

    Args:
        number: of the request that changes the platform, from 0.
        error: raised there.
        lost: the request is carried out and only its answer is lost.
    """
    strike = Strike(number, error)
    hooks = {"before": lambda call: None, "after": strike} if lost else {"before": strike}
    with adapter.hooked(**hooks), contextlib.suppress(KeyboardInterrupt, SkyvypackError):
        act()
    return strike.seen > number


def test_a_template_says_what_it_is(adapter, do):
    """Name, version, digest and run are read back from the platform, and the channel points to it."""
    done = do("1.0.0", channel="stable", manifest="https://images.example/web/manifest.json")
    (found,) = describe(adapter.spec(), adapter.target)
    assert (found.name, found.version, found.target) == ("web", "1.0.0", adapter.target)
    assert found.digest.startswith("sha256:")
    assert found.verified
    assert found.channels == ("stable",)
    assert found.id == done.template.id
    assert done.complete
    assert done.report.passed


def test_only_the_template_is_left(adapter, do):
    """Uploads and clones are gone when a registration ends, and so is the journal."""
    before = adapter.objects()
    done = do()
    assert journals(adapter.target) == []
    assert len(describe(adapter.spec(), adapter.target)) == 1
    first = len(adapter.objects())
    assert first > len(before)
    assert done.left == ()
    # Removing that one template removes all that belonged to it.
    do("2.0.0", content=b"other", keep=1)
    (new,) = describe(adapter.spec(), adapter.target)
    assert new.version == "2.0.0"
    assert len(adapter.objects()) == first


def test_a_plan_changes_nothing_and_tells_what_is_made(adapter, do, tmp_path):
    """`plan` sends no request that changes the platform; its steps are the kinds that a registration journals."""
    spec = adapter.spec()
    source = adapter.artifact(tmp_path / "output", spec)
    wishes = Wishes(channel="stable", keep=2)
    planned = []
    seen = changes(adapter, lambda: planned.append(plan(spec, adapter.target, source, wishes=wishes)))
    assert seen == []
    assert journals(adapter.target) == []
    (told,) = planned
    assert told.obstacles == ()
    assert told.where
    kinds = [step.kind for step in told.steps]
    assert kinds[-2:] == ["verify", "channel"]
    assert all(step.text for step in told.steps)
    journaled: list[str] = []

    def look(call: str) -> None:
        for path in journals(adapter.target):
            lines = path.read_text().splitlines()
            journaled.extend(line.split('"kind": "')[1].split('"')[0] for line in lines if '"intend"' in line)

    with adapter.hooked(look):
        do(verify=False)
    assert {kind for kind in kinds if kind not in JOURNALED} == set(journaled)


def test_everything_is_journaled_before_it_is_made(adapter, do):
    """Whenever the platform is about to be changed for a registration, the journal on disk has an open entry."""
    bare: list[str] = []

    def look(call: str) -> None:
        if not any('"intend"' in path.read_text() for path in journals(adapter.target)):
            bare.append(call)

    with adapter.hooked(look):
        do(verify=False)
    assert bare == []


def test_done_again_it_changes_nothing(adapter, do):
    """A second registration of the same disk finds the first, verified and pointed to."""
    first = do(channel="stable")
    assert changes(adapter, lambda: do(channel="stable")) == []
    again = do(channel="stable")
    assert again.unchanged
    assert again.report is None
    assert again.template.id == first.template.id


def test_what_was_not_verified_is_verified_the_next_time(adapter, do, tmp_path):
    """The disk is not sent again: what remains is looked at, a clone is proven, then the channel moves."""
    first = do(verify=False)
    assert not first.template.verified
    spec = adapter.spec()
    # Its name is taken by itself, which is nothing that stands in the way.
    told = plan(spec, adapter.target, adapter.artifact(tmp_path / "output", spec), wishes=Wishes(channel="stable"))
    assert told.obstacles == ()
    assert [step.kind for step in told.steps] == ["verify", "channel"]
    second = do(channel="stable")
    assert second.template.id == first.template.id
    assert second.report.passed
    assert describe(adapter.spec(), adapter.target)[0].channels == ("stable",)


def test_another_disk_of_the_same_version_is_refused(adapter, do):
    """What is registered never changes: nothing is sent, and the hint says to raise the version."""
    do()
    before = adapter.objects()
    with pytest.raises(PreflightFailed, match="raise the spec's version") as raised:
        do(content=b"another disk")
    assert len(raised.value.obstacles) == 1
    assert adapter.objects() == before


def test_a_channel_moves_from_the_old_to_the_new(adapter, do):
    """One template has the channel at the end, and both stand side by side."""
    do("1.0.0", channel="stable")
    do("1.1.0", content=b"new", channel="stable")
    assert [(one.version, one.channels) for one in describe(adapter.spec(), adapter.target)] == [
        ("1.1.0", ("stable",)),
        ("1.0.0", ()),
    ]


def test_a_channel_that_cannot_be_moved_is_told(adapter, do):
    """The new template stands, the channel is where it was, nothing is retired; a second run moves it."""
    do("1.0.0", channel="stable")
    making = len(changes(adapter, lambda: do("1.1.0", content=b"b")))
    seen: list[str] = []

    def refuse(call: str) -> None:
        seen.append(call)
        if len(seen) > making:
            raise adapter.permanent()

    with adapter.hooked(refuse):
        done = do("1.2.0", content=b"c", channel="stable", keep=1)
    assert (done.channel, done.complete, done.retirement) == ("", False, None)
    assert [job.name for job in done.jobs if job.error] == ["channel stable"]
    standing = describe(adapter.spec(), adapter.target)
    assert [(one.version, one.channels) for one in standing] == [("1.2.0", ()), ("1.1.0", ()), ("1.0.0", ("stable",))]
    assert do("1.2.0", content=b"c", channel="stable").complete
    assert describe(adapter.spec(), adapter.target)[0].channels == ("stable",)


def test_a_broken_contract_changes_nothing(adapter, do):
    """The new template and its clone go; the channel and the old template are as they were."""
    do("1.0.0", channel="stable")
    before = adapter.objects()
    with pytest.raises(ContractFailed):
        do("1.1.0", content=b"new", channel="stable", keep=1, prover=FakeProver(passes=False))
    assert adapter.objects() == before
    assert journals(adapter.target) == []


def test_old_ones_are_retired_last_and_never_in_use(adapter, do):
    """With --keep 1 the unused one goes; one in use and one in another channel stay, with the reason."""
    do("1.0.0", channel="stable")
    used = do("1.1.0", content=b"b").template
    word = adapter.use(used)
    do("1.2.0", content=b"c")
    done = do("1.3.0", content=b"d", channel="edge", keep=1)
    assert [one.version for one in done.retirement.retired] == ["1.2.0"]
    (refused,) = done.retirement.refused
    assert refused.template.version == "1.1.0"
    assert word in refused.reasons[0]
    assert [one.version for one in describe(adapter.spec(), adapter.target)] == ["1.3.0", "1.1.0", "1.0.0"]


def test_retire_keeps_the_newest(adapter, do):
    """The verb by itself, without a registration."""
    for number in range(3):
        do(f"1.{number}.0", content=str(number).encode(), verify=False)
    done = retire(adapter.spec(), adapter.target, keep=2)
    assert [one.version for one in done.retired] == ["1.0.0"]
    assert [one.version for one in describe(adapter.spec(), adapter.target)] == ["1.2.0", "1.1.0"]


def test_retire_can_only_tell(adapter, do):
    """A dry run says which would go, and nothing changes."""
    for number in range(2):
        do(f"1.{number}.0", content=str(number).encode(), verify=False)
    told = []
    asked = changes(adapter, lambda: told.append(retire(adapter.spec(), adapter.target, keep=1, dry_run=True)))
    assert asked == []
    assert [one.version for one in told[0].retired] == ["1.0.0"]


def test_wishes_that_contradict_each_other_are_refused(adapter, do):
    """A channel and the end of older ones need verification, the new one is kept, and no deadline gets shorter."""
    with pytest.raises(InputError, match="a channel moves only to a verified"):
        do(channel="stable", verify=False)
    with pytest.raises(InputError, match="older templates go only for a verified one"):
        do(keep=1, verify=False)
    with pytest.raises(InputError, match="keep"):
        do(keep=0)
    with pytest.raises(InputError, match="deadlines"):
        do(patience=0.5)
    assert changes(adapter, lambda: None) == []


class Interrupted(FakeProver):
    """Ends a registration by Ctrl-C just before it is finished."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen
        self.made = 0

    def prove(self, *args: Any) -> Any:
        """Note how many requests there were."""
        self.made = len(self.seen)
        raise KeyboardInterrupt


def making(adapter: Any, do: Callable[..., Any]) -> int:
    """How many requests a registration sends until everything is made."""
    seen: list[str] = []
    prover = Interrupted(seen)
    with adapter.hooked(seen.append), pytest.raises(KeyboardInterrupt):
        do(prover=prover)
    assert prover.made >= 4
    return prover.made


@pytest.mark.parametrize("lost", [False, True], ids=["not carried out", "answer lost"])
@pytest.mark.parametrize("kind", ["interrupted", "refused"])
def test_struck_at_any_request_nothing_is_left(adapter, do, kind, lost):
    """Ctrl-C, or an error that does not pass, at any request: the platform is as it was, and the journal empty."""
    before = adapter.objects()
    for number in range(making(adapter, do)):
        error = KeyboardInterrupt() if kind == "interrupted" else adapter.permanent()
        assert struck(adapter, do, number, error, lost=lost)
        assert (number, adapter.objects()) == (number, before)
        assert journals(adapter.target) == []


@pytest.mark.parametrize("lost", [False, True], ids=["before", "answer lost"])
def test_a_passing_error_at_any_request_is_outlived(adapter, do, lost):
    """Each request is tried again, and a create whose answer was lost makes no second thing."""
    clean = len(changes(adapter, lambda: do("0.0.1", content=b"zero")))
    one = len(adapter.objects())
    for number in range(clean):
        strike = Strike(number, adapter.transient())
        hooks = {"before": lambda call: None, "after": strike} if lost else {"before": strike}
        with adapter.hooked(**hooks):
            done = do(f"1.0.{number}", content=str(number).encode())
        assert done.complete
        retire(adapter.spec(), adapter.target, keep=1)
        assert (number, len(adapter.objects())) == (number, one)
        assert journals(adapter.target) == []


def test_what_cannot_be_undone_is_told_and_reaped(adapter, do):
    """When the undoing fails too, the error names what is left and the command that removes it; reap does."""
    before = adapter.objects()
    calls = 0

    def dead_from_third(call: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise adapter.permanent()

    with adapter.hooked(dead_from_third), pytest.raises(RegistrarError) as raised:
        do(verify=False)
    assert f"reap --target {adapter.target}" in raised.value.hint
    assert adapter.objects() != before
    left = reap(adapter.target, dry_run=True)
    assert left
    assert adapter.objects() != before
    assert [one.entry for one in reap(adapter.target)] == [one.entry for one in left]
    assert adapter.objects() == before
    assert reap(adapter.target) == ()


def test_reap_takes_nothing_that_is_finished(adapter, do):
    """A standing template and its channel are no leftovers."""
    do(channel="stable")
    before = adapter.objects()
    assert reap(adapter.target) == ()
    assert adapter.objects() == before
