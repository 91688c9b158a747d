"""Numbers of a device are read when it has them, and only waited for when memory would grow."""

from __future__ import annotations

from eigbench.diagnosis.calls import MOST_PENDING, Queue, Reading


class Device(Reading):
    """A reading that is ready when `done` is set; it counts how often it was waited for."""

    def __init__(self, number: float) -> None:
        self.number, self.done, self.waits = number, False, 0

    def ready(self) -> bool:
        """Whether `done` was set."""
        return self.done

    def numbers(self) -> list[float]:
        """The number."""
        self.waits += not self.done
        return [self.number]


def test_nothing_waits_and_the_order_is_kept() -> None:
    queue, found = Queue(), list[float]()
    devices = [Device(0), Device(1), Device(2)]
    for device in devices:
        queue.push(device, found.extend)
    devices[1].done = True
    queue.drain()
    assert found == []
    devices[0].done = True
    queue.drain()
    assert found == [0, 1]
    queue.drain(wait=True)
    assert found == [0, 1, 2]
    assert [device.waits for device in devices] == [0, 0, 1]


def test_memory_is_bounded() -> None:
    queue, found = Queue(), list[float]()
    devices = [Device(number) for number in range(MOST_PENDING + 2)]
    for device in devices:
        queue.push(device, found.extend)
    assert found == [0, 1]
    assert sum(device.waits for device in devices) == 2
