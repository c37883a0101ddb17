"""Every place for the lock gives the same answers, also to processes that fight for it: a file, and a row of a real PostgreSQL server.

The operations run as on the host of the lock: the transaction program under Debian's own Python, whose psycopg2 it finds there. The server
is one of this test's own, in a temporary folder, by an unprivileged account, on a socket in that folder; it is gone when the tests end.
"""

from __future__ import annotations

import json
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.tossable.fleet.plugins.module_utils.host import lease, lease_postgres
from ansible_collections.tossable.fleet.plugins.module_utils.host.errors import HostError
from ansible_collections.tossable.fleet.plugins.plugin_utils import host_program
from test_lease import at, who

FIGHTS = 200
#: Arguments: the program's folder, seconds to wait for a locked row. A line of JSON in is an operation, a line out its answer.
DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tossable_host import lease_file, lease_postgres
from tossable_host.errors import HostError
lease_postgres.WAIT_SECONDS = int(sys.argv[2])
for line in sys.stdin:
    given = json.loads(line)
    try:
        answer = lease_file.perform(given.pop("app"), given, given.pop("folder"))
    except HostError as error:
        answer = {"failed": True, "msg": error.message}
    print(json.dumps(answer), flush=True)
"""


class Server:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        assert found, "PostgreSQL's server is not installed (Debian's package postgresql, see tools/packages.txt)"
        self.programs = found[-1].parent
        self.folder = folder
        self.account = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.queries = 0

    def as_account(self, *argv: str) -> list[str]:
        """The command, as somebody who is not root: PostgreSQL refuses to run as root."""
        path = str(self.programs / argv[0])
        return (
            ["setpriv", f"--reuid={self.account}", f"--regid={self.account}", "--clear-groups", path, *argv[1:]]
            if os.getuid() == 0
            else [path, *argv[1:]]
        )

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs to its end."""
        return subprocess.run(self.as_account(*argv), cwd=self.folder, capture_output=True, text=True, timeout=60, check=False)

    def database(self, name: str = "postgres", user: str = "postgres") -> str:
        """How libpq finds it."""
        return f"host={self.folder} dbname={name} user={user}"

    def sql(self, text: str, name: str = "postgres") -> str:
        """What psql prints."""
        done = self.run(
            "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", f"--dbname={self.database(name)}", f"--command={text}"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="tossable-postgres-") as made:
        one = Server(pathlib.Path(made))
        if os.getuid() == 0:
            shutil.chown(made, one.account, one.account)
        done = one.run("initdb", "--pgdata=data", "--auth=trust", "--username=postgres", "--no-sync", "--locale=C.UTF-8")
        assert done.returncode == 0, done.stderr
        settings = {"listen_addresses": "", "unix_socket_directories": made, "fsync": "off", "shared_buffers": "16MB", "max_connections": "30"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(f"{made}/log", "wb") as log:
            process = subprocess.Popen(one.as_account("postgres", "-D", f"{made}/data", *words), cwd=made, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 60
            while one.run("pg_isready", f"--host={made}", "--quiet").returncode:
                assert process.poll() is None, pathlib.Path(made, "log").read_text()
                assert time.monotonic() < until, pathlib.Path(made, "log").read_text()
                time.sleep(0.05)
            yield one
        finally:
            process.send_signal(3)  # SIGQUIT: at once
            process.wait(30)


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    """The transaction program, as it lies on a host."""
    with tempfile.TemporaryDirectory(prefix="tossable-program-") as folder:
        for name, data in host_program.program().files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        yield folder


class Place:
    """Where the lock of one test is kept, asked by a process of its own."""

    def __init__(self, program: str, where: dict[str, Any], wait_seconds: int = lease_postgres.WAIT_SECONDS, **environment: str) -> None:
        self.where = where
        command = ["/usr/bin/python3", "-I", "-c", DRIVER, program, str(wait_seconds)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def tell(self, operation: str, **more: Any) -> None:
        """Begin an operation."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"app": "shop", "folder": "/none", "operation": operation, **self.where, **more}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its answer."""
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, operation: str, **more: Any) -> dict[str, Any]:
        """One operation from its beginning to its end."""
        self.tell(operation, **more)
        return self.hear()

    def acquire(self, run: str, **more: Any) -> dict[str, Any]:
        """Ask for the lock."""
        return self.ask("acquire", owner=who(run)._asdict(), seconds=900, **more)

    def end(self) -> None:
        """Let the process end."""
        self.process.communicate(timeout=30)


Open = Callable[[], Place]


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, program: str, server: Server, tmp_path: pathlib.Path) -> Iterator[Open]:
    """Open the same lock as often as there are processes that want it."""
    server.queries += 1
    where: dict[str, Any] = {"environment": f"production{server.queries}"}
    where |= {"database": server.database()} if request.param == "postgres" else {"folder": str(tmp_path)}
    opened: list[Place] = []

    def open_one() -> Place:
        opened.append(Place(program, where))
        return opened[-1]

    yield open_one
    for one in opened:
        one.end()


def test_one_at_a_time_and_the_token_is_kept_while_it_is_free(place: Open) -> None:
    lock = place()
    first = lock.acquire("a")
    assert (first["held"], first["token"]) == (True, 1)
    second = lock.acquire("b")
    assert (second["held"], second["lease"]["owner"]["run"]) == (False, "a")
    assert lock.acquire("a")["held"], "whoever has it is given it again"
    assert not lock.ask("free", run="b", token=1)["held"]
    assert lock.ask("show")["lease"]["owner"]["run"] == "a"
    assert lock.ask("free", run="a", token=1)["lease"] is None
    assert lock.ask("show")["token"] == 1
    assert lock.acquire("b")["token"] == 2


def test_a_dead_holder_is_taken_over_and_told(place: Open) -> None:
    lock = place()
    lock.acquire("a")
    taken = lock.acquire("b", take_over=1)
    assert (taken["held"], taken["token"], taken["last"]["event"], taken["last"]["from"]["run"]) == (True, 2, "taken over", "a")
    assert not lock.acquire("c", take_over=1)["held"], "of two that found it dead only one takes it"


def test_a_lease_is_renewed_by_its_holder_only_and_raised_above_what_hosts_saw(place: Open) -> None:
    lock = place()
    lock.acquire("a")
    assert not lock.ask("renew", run="b", token=1)["held"]
    assert lock.ask("renew", run="a", token=1)["token"] == 1
    assert lock.ask("renew", run="a", token=1, above=57)["token"] == 58
    assert not lock.ask("renew", run="a", token=1)["held"]


def test_a_lease_that_ran_out_is_not_renewed_and_is_taken(place: Open) -> None:
    lock = place()
    assert lock.ask("acquire", owner=who("a")._asdict(), seconds=0.05)["held"]
    until = time.monotonic() + 10
    while "ran out" not in lock.ask("show")["said"]:
        assert time.monotonic() < until
    assert not lock.ask("renew", run="a", token=1)["held"]
    taken = lock.acquire("b")
    assert (taken["token"], "had run out" in taken["said"]) == (2, True)


def test_a_break_needs_a_reason_and_shuts_the_holder_out(place: Open) -> None:
    lock = place()
    lock.acquire("a")
    assert "Say it with -e" in lock.ask("break", by="bob", reason=" ")["msg"]
    broken = lock.ask("break", by="bob", reason="laptop gone")
    assert (broken["changed"], broken["lease"], broken["last"]["by"], broken["token"]) == (True, None, "bob", 2)
    assert not lock.ask("renew", run="a", token=1)["held"]
    assert not lock.ask("break", by="bob", reason="to be sure")["changed"]


def test_two_processes_fight_and_each_time_one_wins(place: Open) -> None:
    one, other = place(), place()
    names = ("one", "other")
    wins = dict.fromkeys(names, 0)
    for number, token in enumerate(range(1, FIGHTS + 1)):
        for name, lock in (("one", one), ("other", other)):
            lock.tell("acquire", owner=who(f"{name}-{number}")._asdict(), seconds=900)
        answers = {"one": one.hear(), "other": other.hear()}
        (winner,) = [name for name, answer in answers.items() if answer["held"]]
        (loser,) = set(answers) - {winner}
        assert answers[winner]["token"] == token, "a token was lost, or given twice"
        assert answers[loser]["lease"]["owner"]["run"] == f"{winner}-{number}", "the loser is told who won"
        wins[winner] += 1
        freed = (one if winner == "one" else other).ask("free", run=f"{winner}-{number}", token=token)
        assert (freed["lease"], freed["token"]) == (None, token)
    assert sum(wins.values()) == FIGHTS == one.ask("show")["token"]


def test_many_at_once_on_the_first_use_and_exactly_one_wins(program: str, server: Server, tmp_path: pathlib.Path) -> None:
    """On a database that is empty, so that all of them make the tables."""
    server.sql("CREATE DATABASE empty")
    locks = [Place(program, {"environment": "production", "database": server.database("empty")}) for _ in range(6)]
    for number, lock in enumerate(locks):
        lock.tell("acquire", owner=who(f"run-{number}")._asdict(), seconds=900)
    answers = [lock.hear() for lock in locks]
    for lock in locks:
        lock.end()
    assert not [answer for answer in answers if answer.get("failed")], answers
    assert sum(answer["held"] for answer in answers) == 1
    assert {answer["token"] for answer in answers} == {1}


TIMES = {"until", "since", "at", "deadline", "boot"}


def without_times(data: Any) -> Any:
    """The answer but for what no two runs have in common."""
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if name not in TIMES}
    return data


def test_both_places_give_the_same_answers_word_for_word(program: str, server: Server, tmp_path: pathlib.Path) -> None:
    file = Place(program, {"environment": "same", "folder": str(tmp_path)})
    row = Place(program, {"environment": "same", "database": server.database()})
    script: list[tuple[str, dict[str, Any]]] = [
        ("show", {}),
        ("acquire", {"owner": who("a")._asdict(), "seconds": 900}),
        ("acquire", {"owner": who("b")._asdict(), "seconds": 900}),
        ("renew", {"run": "a", "token": 1, "above": 9}),
        ("acquire", {"owner": who("b")._asdict(), "seconds": 900, "take_over": 10}),
        ("free", {"run": "a", "token": 10}),
        ("break", {"by": "bob", "reason": "é \"quoted\" 'too' \\ %s"}),
        ("acquire", {"owner": who("c")._asdict(), "seconds": 900}),
        ("free", {"run": "c", "token": 13}),
        ("steal", {}),
    ]
    for operation, given in script:
        assert without_times(file.ask(operation, **given)) == without_times(row.ask(operation, **given)), operation
    file.end()
    row.end()
    lines = [json.loads(line) for line in (tmp_path / "same" / "shop.history.jsonl").read_text().splitlines()]
    rows = server.sql("SELECT event FROM tossable_lock_history WHERE environment = 'same' ORDER BY id").splitlines()
    assert [without_times(json.loads(one)) for one in rows] == [without_times(line) for line in lines]


@pytest.fixture
def row(program: str, server: Server) -> Iterator[Callable[..., Place]]:
    """A lock in the database, named in any way."""
    opened: list[Place] = []

    def open_one(database: str, environment: str = "words", wait_seconds: int = lease_postgres.WAIT_SECONDS, **variables: str) -> Place:
        opened.append(Place(program, {"environment": environment, "database": database}, wait_seconds, **variables))
        return opened[-1]

    yield open_one
    for one in opened:
        one.end()


def test_what_stands_in_the_way_is_told_in_words_and_nothing_has_changed(row: Callable[..., Place], server: Server, tmp_path: pathlib.Path) -> None:
    server.sql("CREATE ROLE guest LOGIN")
    server.sql("CREATE DATABASE strange")
    told = {
        f"host={tmp_path} dbname=postgres": "cannot be reached",
        server.database("nonesuch"): 'database "nonesuch" does not exist',
        server.database(user="somebody"): 'role "somebody" does not exist',
        server.database("strange", "guest"): "GRANT CREATE ON SCHEMA public",
        "no such service": "cannot be reached",
        "host=x password=secret": "holds a password",
        "postgresql://me:secret@db/x": "holds a password",
    }
    for database, words in told.items():
        answer = row(database).acquire("a")
        assert words in answer["msg"]
        assert "secret" not in answer["msg"]
    assert server.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'tossable%'", "strange") == "0"


def test_a_standby_is_named(row: Callable[..., Place], server: Server) -> None:
    server.sql("CREATE DATABASE standby")
    row(server.database("standby")).acquire("a")
    server.sql("ALTER DATABASE standby SET default_transaction_read_only = on")
    assert "is a standby" in row(server.database("standby")).acquire("b")["msg"]
    assert row(server.database("standby")).ask("show")["lease"] is not None


def test_a_row_that_somebody_holds_is_told(row: Callable[..., Place], server: Server) -> None:
    lock, impatient = row(server.database(), "held"), row(server.database(), "held", 1)
    lock.acquire("a")
    held = "BEGIN; SELECT 1 FROM tossable_lock WHERE environment = 'held' FOR UPDATE; SELECT pg_sleep(30)"
    holder = subprocess.Popen(server.as_account("psql", f"--dbname={server.database()}", f"--command={held}"), stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 20
        while server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'BEGIN%' AND wait_event = 'PgSleep'") == "0":
            assert time.monotonic() < until
        assert "Somebody holds the row held/shop" in impatient.ask("free", run="a", token=1)["msg"]
    finally:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        holder.wait(30)
    assert lock.ask("free", run="a", token=1)["lease"] is None


def test_a_service_file_names_it_as_well(row: Callable[..., Place], server: Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "services").write_text(f"[lock]\nhost={server.folder}\ndbname=postgres\nuser=postgres\n")
    assert row("lock", "service", PGSERVICEFILE=str(tmp_path / "services")).acquire("a")["held"]


def test_showing_makes_no_table(row: Callable[..., Place], server: Server) -> None:
    server.sql("CREATE DATABASE bare")
    assert row(server.database("bare")).ask("show")["lease"] is None
    assert server.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'tossable%'", "bare") == "0"


def test_a_record_that_cannot_be_read_is_refused_and_set_aside_by_a_break(row: Callable[..., Place], server: Server) -> None:
    lock = row(server.database(), "torn")
    lock.acquire("a")
    lock.acquire("b", take_over=1)
    server.sql("""UPDATE tossable_lock SET record = '{"token": "3"}' WHERE environment = 'torn'""")
    for operation, more in (("show", {}), ("free", {"run": "b", "token": 2})):
        assert "is no record of a lock" in lock.ask(operation, **more)["msg"]
    broken = lock.ask("break", by="bob", reason="it was torn")
    assert (broken["token"], broken["lease"]) == (3, None)
    assert '"set aside"' in server.sql("SELECT event FROM tossable_lock_history WHERE environment = 'torn'")
    assert lock.acquire("c")["token"] == 4


def test_the_history_does_not_grow_for_ever(row: Callable[..., Place], server: Server) -> None:
    lock = row(server.database(), "long")
    lock.acquire("0")
    events = f"SELECT 'long', 'shop', '{{}}' FROM generate_series(1, {lease_postgres.KEEP + 100})"
    server.sql(f"INSERT INTO tossable_lock_history (environment, app, event) {events}")
    lock.acquire("1", take_over=1)
    assert server.sql("SELECT count(*) FROM tossable_lock_history WHERE environment = 'long'") == str(lease_postgres.KEEP)


def test_a_clock_that_was_set_back_prolongs_no_lease_beyond_its_length(row: Callable[..., Place], server: Server) -> None:
    lock = row(server.database(), "clock")
    lock.acquire("a")
    server.sql(
        "UPDATE tossable_lock SET record = jsonb_set(record, '{lease,deadline}', to_jsonb((record->'lease'->>'deadline')::float8 + 7200)) "
        "WHERE environment = 'clock'"
    )
    assert not lock.acquire("b")["held"]
    left = "SELECT (record->'lease'->>'deadline')::float8 - extract(epoch FROM clock_timestamp()) FROM tossable_lock WHERE environment = 'clock'"
    assert 0 < float(server.sql(left)) <= 900


def test_a_lease_is_cut_only_where_it_is_too_long() -> None:
    given = lease.acquire(lease.EMPTY, who("a"), 900, None, at(1000)).record
    assert lease.within(given, at(1000)) == given
    assert lease.within(given, at(1500)) == given
    assert lease.within(lease.EMPTY, at(0)) == lease.EMPTY
    cut = lease.within(given, at(100)).lease
    assert cut is not None
    assert cut.deadline == at(100).uptime + 900


@pytest.mark.parametrize("database", ["user=x password = 'y'", "postgres://u:p@h/d", "service=s sslpassword=x"])
def test_a_password_is_refused_before_anything_is_asked(database: str) -> None:
    with pytest.raises(HostError, match="pgpass"):
        lease_postgres.connection_words(database)


def test_plain_words_are_services() -> None:
    assert lease_postgres.connection_words("lock") == "service=lock"
    assert lease_postgres.connection_words("host=db dbname=x") == "host=db dbname=x"
    assert lease_postgres.connection_words("postgresql://db/x") == "postgresql://db/x"
