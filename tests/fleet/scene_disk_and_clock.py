"""A full disk wherever something is written, and clocks that are an hour off."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from conftest import Fleet, Scene, tortured
from scene_in_flight import FORWARD
from test_04_refusals import broken
from test_07_killed import serving, when

STATE = "/var/lib/tossable/storefront"


@contextmanager
def small_disk(fleet: Fleet, host: str, folder: str, options: str) -> Iterator[None]:
    """A folder lies on a small file system of its own; what was in it stays, and so does what the host writes down meanwhile."""
    mount = f"cp -a {folder} /root/before && mount -t tmpfs -o {options} tmpfs {folder} && cp -a /root/before/. {folder}/"
    keep = f"rm -f {folder}/ballast && cp -a {folder} /root/after" if folder == STATE else "mkdir /root/after"
    mend = f"{keep} && umount --lazy {folder} && cp -a /root/after/. {folder}/ && rm -r /root/before /root/after"
    with broken(fleet, host, mount, mend):
        yield


def full_in_stage(fleet: Fleet) -> None:
    """There is room by the megabyte, but no more names: the plan cannot know, unpacking fails."""
    home = "/srv/storefront"
    before = fleet.releases()
    with tortured("disk full", "while staging") as case, small_disk(fleet, "app2", home, "size=400m,mode=0755"):
        fleet.on("app2", f"mount -o remount,nr_inodes=$(($(df --output=iused {home} | tail -n 1) + 40)) {home}")
        done = fleet.play("deploy.yml", "-e", "version=1.3.0")
        assert fleet.on("app2", f"find {home}/releases -name '.staging*'") == ""
    assert done.code == 2
    assert "failed on app2" in done.message(), done.output
    assert "No space left on device" in done.message(), done.output
    assert fleet.releases() == before
    case.passed(lowest=4)


def full_before_the_switch(fleet: Fleet) -> None:
    """Where nothing can be written down, nothing begins."""
    fill = f"head -c 10M /dev/zero > {STATE}/ballast || true"
    fleet.must("deploy.yml", "--tags", "stage", *FORWARD[1:])
    with tortured("disk full", "before the switch") as case, small_disk(fleet, "app1", STATE, "size=4m,mode=0700"):
        fleet.on("app1", fill)
        done = fleet.play(*FORWARD)
        assert done.code == 2
        assert f"{STATE} is full" in done.message(), done.output
        assert set(fleet.releases().values()) == {"1.0.0"}
    case.passed(lowest=4)


def full_in_the_switch(fleet: Fleet) -> None:
    """What has begun is ended with room that was held back; only the next one is refused."""
    fill = f"head -c 10M /dev/zero > {STATE}/ballast || true"
    with tortured("disk full", "in the switch") as case, small_disk(fleet, "app1", STATE, "size=4m,mode=0700"):
        watched = when("app1", "drain", kill=False)
        run = fleet.begin(*FORWARD)
        assert watched() == 0
        fleet.on("app1", fill)
        output, _ = run.communicate()
        serving(fleet)
        assert run.returncode == 0, output
        refused = fleet.play("playbooks/rollback.yml")
        assert refused.code == 2
        assert f"{STATE} is full" in refused.message(), refused.output
        fleet.on("app1", f"rm {STATE}/ballast")
        fleet.must("playbooks/rollback.yml", "-e", "version=1.0.0")
    case.passed()


CLOCK = "/etc/python3.11/sitecustomize.py"
#: Every Python program that is started on the host from now on reads another time of day; seconds since boot stay as they are.
OTHER_CLOCK = f"""
cp {CLOCK} {CLOCK}.before
cat > {CLOCK} <<END
import time
by = %d
real = {{name: getattr(time, name) for name in ("time", "time_ns", "gmtime", "localtime", "clock_gettime")}}
time.time = lambda: real["time"]() + by
time.time_ns = lambda: real["time_ns"]() + by * 10**9
time.gmtime = lambda at=None: real["gmtime"](time.time() if at is None else at)
time.localtime = lambda at=None: real["localtime"](time.time() if at is None else at)
time.clock_gettime = lambda clock: real["clock_gettime"](clock) + by * (clock == time.CLOCK_REALTIME)
END
"""
RIGHT_CLOCK = f"mv {CLOCK}.before {CLOCK}"


def clocks_are_off(fleet: Fleet, name: str, seconds: int) -> None:
    """On the first host, and on the one that keeps the lock: nothing that decides compares clocks of two machines."""
    with (
        tortured("clock", name) as case,
        broken(fleet, "app1", OTHER_CLOCK % seconds, RIGHT_CLOCK),
        broken(fleet, "ops1", OTHER_CLOCK % seconds, RIGHT_CLOCK),
    ):
        for host in ("app1", "ops1"):
            read = int(fleet.on(host, "python3 -I -c 'import time; print(int(time.time()))'"))
            assert abs(read - time.time() - seconds) < 60
        fleet.must(*FORWARD)
        assert set(fleet.releases().values()) == {"1.1.0"}
        fleet.must("playbooks/rollback.yml")
    case.passed()


SCENES = [
    Scene("the disk is full while staging", full_in_stage),
    Scene("the disk is full before the switch", full_before_the_switch, short=True),
    Scene("the disk fills up in the switch", full_in_the_switch),
    Scene("clocks are an hour ahead", partial(clocks_are_off, name="an hour ahead", seconds=3600)),
    Scene("clocks are an hour behind", partial(clocks_are_off, name="an hour behind", seconds=-3600)),
]
