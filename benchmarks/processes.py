"""How much memory a command of the project takes, with all the processes it starts."""

from __future__ import annotations

import psutil


def family(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; Java's forks, which share its memory until they run a program, not again."""
    found = []
    try:
        root = psutil.Process(pid)
        for member in [root, *root.children(recursive=True)]:
            parent = member.parent()
            if parent is None or (member.name(), parent.name()) != ("java", "java"):
                found.append(member)
    except psutil.Error:  # one of them has just ended; the next look is as good
        pass
    return found


def resident_gib(pid: int) -> float:
    """Return the GiB that a process and its descendants have in memory; what they share is counted once."""
    total = 0
    for member in family(pid):
        try:
            total += member.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**30
