"""Facts about the log of a topic that this process has seen."""

from __future__ import annotations

__all__ = ["LogState"]


class LogState:
    """The facts about one topic. A topic that is deleted and created again starts with new ones.

    Attributes:
        ends: For each partition, the highest end that this process has seen. A broker that reports
            a lower one has not caught up, or records were lost.
        firsts: For each partition, the beginning that was seen last. If a broker reports an earlier
            one, it has forgotten deletions in a crash, or the topic was created again.
        cleared: For each partition, the offset after the newest clear marker that was seen.
        deletable: Whether the brokers have let this user delete records.
    """

    def __init__(self) -> None:
        self.ends: dict[int, int] = {}
        self.firsts: dict[int, int] = {}
        self.cleared: dict[int, int] = {}
        self.deletable = False
        self._scanned: dict[int, tuple[int, int]] = {}

    def forget(self) -> None:
        """Forget everything about offsets, because records that were seen are lost."""
        for known in (self.ends, self.firsts, self.cleared, self._scanned):
            known.clear()

    def beginnings(self, partitions: int) -> dict[int, int] | None:
        """Return the offset at which each partition begins; None if the brokers have to be asked.

        A log that began at 0 and was not cleared is read from 0, whatever becomes of it. It cannot
        begin earlier. If it begins later now, the brokers refuse to read from 0.

        Args:
            partitions: The number of partitions.
        """
        if all(self.firsts.get(p) == 0 and not self.cleared.get(p) for p in range(partitions)):
            return dict.fromkeys(range(partitions), 0)
        return None

    def likely_bounds(self, partitions: int) -> dict[int, tuple[int, int]]:
        """Return where each partition probably begins and ends; nothing if that is not known.

        Args:
            partitions: The number of partitions.
        """
        if any(p not in self.firsts for p in range(partitions)):
            return {}
        return {
            p: (max(self.firsts[p], self.cleared.get(p, 0)), self.ends.get(p, 0))
            for p in range(partitions)
        }

    def saw_end(self, partition: int, end: int) -> None:
        """Note that the log reaches up to `end`."""
        self.ends[partition] = max(end, self.ends.get(partition, 0))

    def saw_marker(self, partition: int, offset: int) -> None:
        """Note that everything up to the marker at `offset` is cleared."""
        self.cleared[partition] = max(offset + 1, self.cleared.get(partition, 0))

    def saw_records(self, partition: int, start: int, end: int) -> None:
        """Note that all markers from `start` to before `end` are known."""
        low, high = self._scanned.get(partition, (start, start))
        if start <= high and end >= low:
            self._scanned[partition] = (min(low, start), max(high, end))
        elif end - start > high - low:
            self._scanned[partition] = (start, end)

    def unscanned(self, partition: int, offset: int) -> int:
        """Return the first offset, from `offset` on, behind which a marker may be unknown."""
        low, high = self._scanned.get(partition, (0, 0))
        return high if low <= offset < high else offset
