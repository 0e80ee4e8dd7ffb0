"""A raw disk into a pending EBS snapshot by the EBS direct API: many workers, little memory, resumable.

Each worker reads one block, hashes it, sends it, writes it down in the ledger and takes the next, so that memory, and
what a killed run may have sent without a trace, are bounded by the number of workers. The thread that called tells of
progress. Facts: the EBS user guide, "Write Amazon EBS snapshots with EBS direct APIs", and the reference of
PutSnapshotBlock and CompleteSnapshot.
"""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Lock, Thread

from skyvypack.progress import Event, Progress
from skyvypack.registrar.contract import RegistrarError
from skyvypack.targets.aws.ec2.blocks import BLOCK, RawDisk
from skyvypack.targets.aws.ec2.ledger import Ledger
from skyvypack.targets.aws.ec2.region import Region

# A request of 512 KiB takes about 100 ms ("Optimize performance for EBS direct APIs"), so 32 carry some 160 MB/s: more
# than most lines, and a third of what an account may ask for in a second.
WORKERS = 32
# Seconds without a single block arriving after which nothing will: longer than a call may be repeated.
STALL = 360.0
# A new snapshot is unknown to some of EBS's servers for up to two minutes (measured by the authors of coldsnap).
_NOT_YET = frozenset(["ResourceNotFoundException"])
_GRACE = 5.0
_SHOWN = 0.2


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What is in a snapshot now.

    Args:
        blocks: how many it has.
        sent: how many of them this run sent.
        zero: how many were looked at and held nothing but zeroes; holes were not looked at.
        checksum: over all, as CompleteSnapshot wants it: SHA-256 of the blocks' SHA-256s in order, in Base64.
    """

    blocks: int
    sent: int
    zero: int
    checksum: str


@dataclass(frozen=True, slots=True)
class _Done:
    """One block that was looked at; without a digest it holds nothing but zeroes."""

    index: int
    digest: bytes | None = None
    sent: bool = False


Outbox = SimpleQueue[_Done | BaseException | Event]


class _Stopped(Exception):
    """The upload has ended: what was still to be repeated is not."""


class _Crew:
    """The workers of one upload; they share the list of blocks and put what they have done on `outbox`."""

    def __init__(self, outbox: Outbox, region: Region, snapshot: str, disk: RawDisk, ledger: Ledger) -> None:
        self._outbox = outbox
        self._region = region.telling(self._tell)
        self._snapshot = snapshot
        self._disk = disk
        self._ledger = ledger
        self._indexes = disk.indexes()
        self._taking = Lock()
        self._stop = Flag()

    @contextmanager
    def at_work(self, workers: int) -> Iterator[None]:
        """Let them work until the block is left.

        They are daemons: one that hangs in a call when we are interrupted holds nobody up for longer than a moment.
        """
        threads = [Thread(target=self._work, name=f"ebs-{number}", daemon=True) for number in range(workers)]
        try:
            for thread in threads:
                thread.start()
            yield
        finally:
            self._stop.set()
            deadline = time.monotonic() + _GRACE
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(deadline - time.monotonic(), 0.0))

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                with self._taking:
                    index = next(self._indexes, None)
                if index is None:
                    return
                self._outbox.put(self._one(index))
        except BaseException as error:
            self._outbox.put(error)

    def _tell(self, event: Event) -> None:
        """Hand on what is told before a call is repeated, which is the moment to end."""
        if self._stop.is_set():
            raise _Stopped
        self._outbox.put(event)

    def _one(self, index: int) -> _Done:
        data = self._disk.read(index)
        if data is None:
            return _Done(index)
        digest = hashlib.sha256(data).digest()
        if self._ledger.digests.get(index) == digest:
            return _Done(index, digest)
        _put(self._region, self._snapshot, index, data, digest)
        self._ledger.add(index, digest)
        return _Done(index, digest, sent=True)


def upload(
    region: Region, snapshot: str, disk: RawDisk, ledger: Ledger, progress: Progress, *, workers: int = WORKERS
) -> Uploaded:
    """Send every block of a disk that holds data and is not in the ledger yet.

    Args:
        region: where the snapshot is.
        snapshot: id of a pending snapshot.
        disk: what to send.
        ledger: of this snapshot; keeps what has arrived, whatever happens.
        progress: told how far it is, in stage ``upload``.
        workers: how many requests at once; each holds about 2 MiB.

    Raises:
        RegistrarError: EBS refused a block, none arrived for `STALL` seconds, or the disk is not the one that the
            ledger is of.
    """
    total = sum(1 for _ in disk.indexes())
    tally = _Tally(total, progress)
    outbox: Outbox = SimpleQueue()
    # Made here: several threads must not make it.
    region.client("ebs")
    crew = _Crew(outbox, region, snapshot, disk, ledger)
    with crew.at_work(min(workers, total)):
        while tally.done < total:
            found = _next(outbox)
            if isinstance(found, Event):
                progress.report(found)
            else:
                tally.count(found)
    if tally.done - tally.zero != len(ledger.digests):
        raise RegistrarError(f"{disk.path} is not the disk that this upload was begun with")
    return Uploaded(len(ledger.digests), tally.sent, tally.zero, _checksum(ledger))


class _Tally:
    """Counts what the workers have done."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total = total
        self.done = self.sent = self.zero = 0
        self._progress = progress
        self._shown = 0.0

    def count(self, block: _Done) -> None:
        self.done += 1
        self.sent += block.sent
        self.zero += block.digest is None
        now = time.monotonic()
        if now - self._shown > _SHOWN or self.done == self.total:
            self._shown = now
            self._progress.report(Event("advance", "upload", fraction=self.done / self.total))


def _next(outbox: Outbox) -> _Done | Event:
    try:
        found = outbox.get(timeout=STALL)
    except Empty:
        raise RegistrarError(f"no block arrived for {STALL:.0f} s", "see whether the network is up") from None
    if isinstance(found, BaseException):
        raise found
    return found


def _put(region: Region, snapshot: str, index: int, data: bytes, digest: bytes) -> None:
    checksum = b64encode(digest).decode()
    region.call(
        "ebs",
        "put_snapshot_block",
        # What arrived broken on the way is refused, or shows in the answer; the same block can be sent again.
        fits=lambda answer: answer.get("Checksum") == checksum,
        passing=_NOT_YET,
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=BLOCK,
        Checksum=checksum,
        ChecksumAlgorithm="SHA256",
    )


def _checksum(ledger: Ledger) -> str:
    whole = hashlib.sha256()
    for index in sorted(ledger.digests):
        whole.update(ledger.digests[index])
    return b64encode(whole.digest()).decode()
