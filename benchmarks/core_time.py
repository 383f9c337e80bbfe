"""CPU time of a running service by role. Unlike wall time it says the same on a busy machine, but for shared caches."""

from collections import Counter

import psutil

ROLES = {
    "-m service": "gateway",
    "-m worker denoise": "worker",
    "-m worker finetune": "finetune",
    "spawn_main": "pool",  # Celery's children: decode, network, report, encode
    "images.forkserver": "decoder",  # helpers have their parent's command line
    "-m courier": "courier",
    "redis-server": "redis",
    "-m launch": "supervisor",
}
"""What a command line contains, and the role of its process."""


def core_seconds(pid: int) -> Counter[str]:
    """Seconds of CPU time that the process and those below it have taken so far, by role."""
    found: Counter[str] = Counter()
    launcher = psutil.Process(pid)
    for process in [launcher, *launcher.children(recursive=True)]:
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # ended meanwhile
        role = next((role for part, role in ROLES.items() if part in command), "other")
        found[role] += times.user + times.system
        if role == "decoder":  # a helper lives for one file
            found[role] += times.children_user + times.children_system
    return found
