# Copyright: Tossable Fleet maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a line of feature flags comes to lie on a host: one shell command, a few small processes, no Python there. Pure functions.

On the host: ``flags.json``, the line that applications read; ``lock``; and ``published``, the generation and the digest of what was put
there last. A file that has other bytes than that was damaged, and is put right by the same line again; without it nobody could
tell damage from a second line of the same generation.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from typing import NamedTuple

FOLDER = "/var/lib/tossable/flags"
FILE = "flags.json"
#: Seconds that a host waits for another writer, which takes milliseconds.
LOCK_SECONDS = 10
#: A line that is longer (bytes) is read from standard input: the kernel takes 128 KiB as one argument, and quoting makes it longer.
LONGEST_ARGUMENT = 16 * 1024
_ANSWER = re.compile(r"tossable-flags (\w+) (\d{1,15}) ([0-9a-f]{64}|-)")

# `tell WORD GENERATION DIGEST` is the only way out, and says what the host holds. What tools complain about is printed before it.
_HEAD = """\
exec 2>&1
LC_ALL=C; export LC_ALL; umask 022
tell() {{ echo "tossable-flags $1 ${{2:-0}} ${{3:--}}"; exit 0; }}
"""
# `have`: digest of what lies there. `named`: the generation that stands at the end of it, 0 where there is none. `accepted`, `last`: what was
# published. `tail` is one process, so it is asked only where the file is not the one that this command has put there.
_LOOK = """\
have= named=0 accepted=0 last=
[ ! -f flags.json ] || have=$(sha256sum <flags.json) || tell failed
have=${have%% *}
[ ! -f published ] || read -r accepted last <published || accepted=
case $accepted in ''|*[!0-9]*) accepted=0 last=;; esac
if [ -n "$have" ] && [ "$have" = "$last" ]; then
    named=$accepted
elif [ -n "$have" ]; then
    end=$(tail -c 64 flags.json)
    case $end in *'"generation":'*'}}') named=${end##*'"generation":'}; named=${named%'}}'};; esac
    case $named in ''|*[!0-9]*|????????????????*) named=0;; esac
fi
"""
_PUBLISH = """\
line={line}
[ -d {folder} ] || mkdir -p {folder} || tell failed
cd {folder} || tell failed
exec 9>>lock
flock -w {seconds} 9 || tell busy
{look}
want={digest} generation={generation}
# Put there in another way than by this command, as a host does when it boots.
[ "$named" -le "$accepted" ] || {{ accepted=$named; last=$have; }}
[ "$generation" -ge "$accepted" ] || tell lower "$accepted" "$last"
[ "$generation" -gt "$accepted" ] || [ "$want" = "$last" ] || tell other "$accepted" "$last"
if [ "$have" = "$want" ]; then
    echo "$generation $want" >published || tell failed
    tell unchanged "$generation" "$want"
fi
part=.flags.json.part
printf '%s\\n' "$line" >$part && [ "$(sha256sum <$part)" = "$want  -" ] && sync $part || {{ rm -f $part; tell failed "$accepted" "$last"; }}
# Readers look for a later time only, whatever the clock has done.
[ ! -e flags.json ] || [ $part -nt flags.json ] || touch -r flags.json -d '+1 second' $part
mv -fT $part flags.json || tell failed "$accepted" "$last"
echo "$generation $want" >published || tell failed "$accepted" "$last"
[ "$(sha256sum <flags.json)" = "$want  -" ] || tell failed "$accepted" "$last"
tell changed "$generation" "$want"
"""
_READ = """\
cd {folder} 2>/dev/null && [ -e flags.json ] || tell missing
exec 9>>lock
flock -s -w {seconds} 9 || tell busy
{look}
[ "$named" -gt 0 ] || tell torn "$accepted" "$have"
[ -z "$last" ] || [ "$named" -gt "$accepted" ] || [ "$have" = "$last" ] || tell altered "$named" "$have"
tell holds "$named" "$have"
"""
_TROUBLES = {
    "lower": "it holds generation {generation}, which is later, and refuses an earlier one: look at it with playbooks/flags.yml",
    "other": "it holds other flags of the same generation {generation} (sha256 {digest}): the next switch makes a later generation",
    "missing": "it has no flags yet: site.yml or any switch brings them",
    "torn": "its file is damaged and names no generation: site.yml or any switch repairs it",
    "altered": "its file was altered or damaged after generation {generation} was published: site.yml or any switch repairs it",
    "busy": f"another writer did not end within {LOCK_SECONDS} s (lock {FOLDER}/lock)",
    "failed": f"the flags could not be written into {FOLDER}",
}


class Found(NamedTuple):
    """What a host holds: generation (0 for none) and sha256 of the file, why that is not as it should be, whether it was changed just now."""

    generation: int
    digest: str
    trouble: str
    changed: bool = False


def digest(data: bytes) -> str:
    """The identity of a line, by which hosts are compared."""
    return hashlib.sha256(data).hexdigest()


def command(data: bytes, generation: int, folder: str = FOLDER, piped: bool = False) -> str:
    """Shell text that puts the line ``data`` in place, unless the host holds a later generation or other bytes of the same one.

    Any number may run at once, and any may be killed. ``piped``: the line comes from standard input, for one longer than LONGEST_ARGUMENT.
    Raises ValueError where it is no line.
    """
    if not data.endswith(b"\n") or b"\n" in data[:-1] or b"\0" in data:
        raise ValueError("flags are published as one line with a newline at its end")
    # Read before the lock is taken: who sends nothing more keeps nobody else waiting.
    line = "$(cat)" if piped else shlex.quote(data[:-1].decode())
    filled = _PUBLISH.format(folder=shlex.quote(folder), seconds=LOCK_SECONDS, look=_LOOK, digest=digest(data), generation=int(generation), line=line)
    return _HEAD.format() + filled


def read_command(folder: str = FOLDER) -> str:
    """Shell text that says what the host holds and changes nothing."""
    return _HEAD.format() + _READ.format(folder=shlex.quote(folder), seconds=LOCK_SECONDS, look=_LOOK)


def parse(stdout: str) -> Found:
    """What either command has said; an answer that is none is a trouble, with the last that was printed."""
    *before, last = stdout.strip().splitlines() or [""]
    match = _ANSWER.fullmatch(last.strip())
    if match is None:
        return Found(0, "", f"the host gave no answer: {' '.join([*before, last][-3:]).strip() or 'nothing was printed'}")
    word, generation, held = match[1], int(match[2]), match[3].replace("-", "")
    said = " ".join(" ".join(before[-3:]).split())
    trouble = _TROUBLES.get(word, "").format(generation=generation, digest=held[:8]) + (f": {said}" if said and word == "failed" else "")
    return Found(generation, held, trouble, word == "changed")
