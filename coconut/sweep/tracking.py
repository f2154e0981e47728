"""The only file that knows MLflow: runs, nested runs, metrics and files, which no fit ever waits for.

Every event is first a line of a local journal and then sent by a background thread. A server
that is away costs the caller nothing: what could not be sent stays in the journal, and the next
Tracker over it sends the rest. Lines carry their time, so that sending one twice changes nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from coconut.config import InputError
from coconut.files import rescued, write_text

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

EXPERIMENT = "coconut"
KEY, PARENT = "coconut.key", "mlflow.parentRunId"
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
MARK = "score"  # a metric of every row
METRICS = 900  # per call: a server takes 1000
GATHER = 10.0  # seconds that rows wait for others: a call costs a store as much as ten rows
NEWEST = ("cost/", "search/generation", "search/best_generation")  # metrics of which a call needs its last value alone
SCORES = (MARK, "best_score")  # metrics of every row
CLOCK, APART = "cost/seconds", 1.0  # of rows that a fit came to within a second, SCORES are enough, and the rest of one
PAUSE = 5.0  # seconds between tries while the store does not answer
STATUSES = ("RUNNING", "FINISHED", "FAILED", "KILLED")

Event = dict[str, Any]


class Tracker:
    """Events in, MLflow runs out. A run is named by a key of the caller's, unique for ever.

    `journal` is a folder of its own. Raises InputError for a tracking address of unknown kind.
    """

    def __init__(self, uri: str, journal: Path, artifacts: Path | None = None) -> None:
        self.check(uri)
        self.uri = bare(uri)
        self._store = _Store(uri, artifacts)
        journal.mkdir(parents=True, exist_ok=True)
        self._path, self._mark = journal / "events.jsonl", journal / "sent"
        self._sent = int(self._mark.read_text()) if self._mark.is_file() else 0
        self._ends: dict[str, str] = {}  # status by key, of runs that are over
        self._steps: dict[str, int] = {}  # last step by key
        self._parents: dict[str, str] = {}
        self._events: deque[Event] = deque()  # not sent yet
        self._urgent = 0  # of these, what does not wait for others
        self._alone = 0  # of these, what goes one by one
        for number, event in enumerate(_read(self._path)):
            self._note(event)
            if number >= self._sent:
                self._queue(event)
        self._file = self._path.open("a", encoding="utf-8")
        self._news = threading.Condition()
        self._closing = False
        self.problem: str | None = None  # why the last try to send failed
        self.dropped = 0  # records that the store refused for good
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    @staticmethod
    def check(uri: str) -> None:
        """Raise InputError for an address that MLflow could never use."""
        if uri.split(":")[0].split("+")[0] not in SCHEMES:
            kinds = "give sqlite:///FILE.db or http://HOST:PORT"
            raise InputError(f"--tracking-uri {bare(uri)} is of no known kind; {kinds}.")

    @staticmethod
    def preflight(uri: str, artifacts: Path | None = None) -> None:
        """Write a run to a store and delete it again; of a sqlite file, look only whether it is MLflow's.

        Raises InputError where the store could not be used, before anything is spent.
        """
        from coconut.sweep import preflight

        Tracker.check(uri)
        try:
            if uri.startswith("sqlite"):
                preflight.look_at_file(uri)
            else:
                preflight.look_at_driver(uri)
                _Store(uri, artifacts).probe()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"MLflow at {bare(uri)} {preflight.advice(error)} ({_short(error)}).") from error

    def closed(self, key: str) -> bool:
        """Whether the run `key` has come to its own end and was not begun again since."""
        return self._ends.get(key, "KILLED") != "KILLED"

    def children(self, parent: str) -> set[str]:
        """Keys of the runs that were begun under `parent`."""
        return {key for key, above in self._parents.items() if above == parent}

    def begin(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None, parent: str = ""
    ) -> None:
        """Start the run `key`, or go on with it. `parent` is the key of the run it is nested in."""
        kept = {name: str(value) for name, value in params.items()}
        self._add({"op": "begin", "key": key, "name": name, "params": kept, "tags": dict(tags or {}), "parent": parent})

    def log(self, key: str, row: Mapping[str, float], step: int) -> None:
        """Finite numbers at a step. Steps only grow: what a resumed trial repeats is skipped."""
        if step > self._steps.get(key, -1):
            self._add({"op": "row", "key": key, "step": step, "row": dict(row)})

    def files(self, key: str, folder: Path, names: Iterable[str] | None = None, under: str = "") -> None:
        """Send the files of a folder (or those in `names`) as artifacts, under a folder of the run's."""
        wanted = [folder / name for name in names] if names is not None else sorted(folder.iterdir())
        paths = [str(path.resolve()) for path in wanted if path.is_file()]
        self._add({"op": "files", "key": key, "paths": paths, "under": under})

    def note(self, key: str, text: str) -> None:
        """The run's description, in Markdown."""
        self._add({"op": "tags", "key": key, "tags": {"mlflow.note.content": text}})

    def end(self, key: str, status: str, tags: Mapping[str, str] | None = None) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""
        assert status in STATUSES, status
        self._add({"op": "end", "key": key, "status": status, "tags": dict(tags or {})})

    def close(self, patience: float = 60.0) -> str | None:
        """Send what is left while the store answers, for `patience` seconds at most.

        Returns None, or one sentence that says what stays unsent and why.
        """
        until = time.monotonic() + (min(patience, PAUSE) if self.problem else patience)
        with self._news:
            self._closing = True
            self._news.notify()
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(0.1)
        self._file.close()
        left = len(self._events)
        if self.dropped:
            return f"MLflow at {self.uri} refused {self.dropped} records ({self.problem}); they are in {self._path}."
        if not left:
            return None
        why = self.problem or "it is slow"
        return f"{left} records are not in MLflow at {self.uri} yet ({why}); they wait in {self._path}."

    def _add(self, event: Event) -> None:
        event["time"] = int(time.time() * 1000)
        self._note(event)
        with self._news:
            self._file.write(json.dumps(event) + "\n")
            self._queue(event)
            self._news.notify()
            rescued(self._file.flush)  # what a full disk does not take stays in the buffer, for the next flush

    def _queue(self, event: Event) -> None:
        self._events.append(event)
        self._urgent += event["op"] != "row"

    def _note(self, event: Event) -> None:
        """What must be known of all events, sent ones too."""
        key = event["key"]
        if event["op"] == "row":
            self._steps[key] = max(event["step"], self._steps.get(key, -1))
        elif event["op"] == "begin":
            self._ends.pop(key, None)
            self._parents[key] = event["parent"]
        elif event["op"] == "end":
            self._ends[key] = event["status"]

    def _work(self) -> None:
        """Send events in order; pause while the store does not answer; leave when told and done."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._events or self._closing)
                self._news.wait_for(lambda: self._urgent or self._alone or self._closing, GATHER)
                batch, closing = _batch(self._events)[: 1 if self._alone else None], self._closing
            if not batch:
                return
            try:
                self._store.send(batch)
                self.problem = None
                self._advance(len(batch))
            except Exception as error:
                self.problem = _short(error)
                if _hopeless(error):
                    self._refused(len(batch))
                    continue
                if closing:
                    return
                with self._news:
                    self._news.wait_for(lambda: self._closing, PAUSE)

    def _refused(self, count: int) -> None:
        """Drop what the store refuses for good; of several records, those that it also refuses one by one."""
        if count > 1:
            self._alone = count
            return
        self.dropped += 1
        self._advance(1)

    def _advance(self, count: int) -> None:
        with self._news:
            for _ in range(count):
                self._urgent -= self._events.popleft()["op"] != "row"
        self._alone = max(0, self._alone - count)
        self._sent += count
        write_text(self._mark, str(self._sent))


class _Store:
    """Events to MLflow's client, which is imported and set up when the first one comes."""

    def __init__(self, uri: str, artifacts: Path | None) -> None:
        self.uri, self.artifacts = uri, artifacts
        self.client: Any = None
        self.experiment = ""
        self.runs: dict[str, str] = {}
        self.known: dict[str, int] = {}  # last step by key that an earlier life sent

    def send(self, batch: list[Event]) -> None:
        if self.client is None:
            self._connect()
        if batch[0]["op"] == "row":
            self._rows(batch)
            return
        for event in batch:
            getattr(self, f"_{event['op']}")(event)

    def _connect(self) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        local = self.artifacts.resolve().as_uri() if self.artifacts and self.uri.startswith("sqlite") else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # opens on runs and curves
        self.experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT, local, kind)
        self.client = client

    def probe(self) -> None:
        """Whatever can be wrong with a store shows where a run is written and deleted."""
        self._connect()
        run = self.client.create_run(self.experiment, run_name="preflight").info.run_id
        self.client.log_metric(run, "score", 0.0)
        self.client.delete_run(run)

    def _run(self, key: str) -> str:
        if key not in self.runs:
            query = f"tags.`{KEY}` = '{key}'"
            found = self.client.search_runs([self.experiment], query, max_results=1)
            if not found:
                raise KeyError(f"no run {key}")
            run = self.runs[key] = found[0].info.run_id
            self.known[key] = max((m.step for m in self.client.get_metric_history(run, MARK)), default=-1)
        return self.runs[key]

    def _begin(self, event: Event) -> None:
        from mlflow.entities import Param

        tags = {KEY: event["key"], **event["tags"]}
        if event["parent"]:
            tags[PARENT] = self._run(event["parent"])
        try:
            run = self._run(event["key"])
            self.client.update_run(run, status="RUNNING")
        except KeyError:
            run = self.client.create_run(self.experiment, event["time"], tags, event["name"]).info.run_id
            self.runs[event["key"]] = run
            self.client.log_batch(run, params=[Param(name, value) for name, value in event["params"].items()])

    def _rows(self, batch: list[Event]) -> None:
        by_key: dict[str, list[Event]] = {}
        for event in batch:
            self._run(event["key"])
            if event["step"] > self.known.get(event["key"], -1):
                by_key.setdefault(event["key"], []).append(event)
        for key, events in by_key.items():
            for metrics in _calls(events):
                self.client.log_batch(self._run(key), metrics=metrics)

    def _files(self, event: Event) -> None:
        for path in event["paths"]:
            if Path(path).is_file():
                self.client.log_artifact(self._run(event["key"]), path, event["under"] or None)

    def _tags(self, event: Event) -> None:
        for name, value in event["tags"].items():
            self.client.set_tag(self._run(event["key"]), name, value)

    def _end(self, event: Event) -> None:
        self._tags(event)
        self.client.set_terminated(self._run(event["key"]), event["status"], event["time"])
        if self.uri.startswith("http"):
            self._drop_doubles(event["key"])

    def _drop_doubles(self, key: str) -> None:
        """Delete what a server made twice of a run: one that hung takes up late what was asked again meanwhile."""
        for run in self.client.search_runs([self.experiment], f"tags.`{KEY}` = '{key}'"):
            if run.info.run_id != self._run(key):
                self.client.delete_run(run.info.run_id)


def bare(uri: str) -> str:
    """An address, or a text that holds one, without its password."""
    return re.sub(r"(://[^/@:\s]*):[^/\s]*@", r"\1@", uri)


def _batch(events: Iterable[Event]) -> list[Event]:
    """The next event, or all the rows that come next."""
    first = next(iter(events), None)
    if first is None or first["op"] != "row":
        return [first] if first else []
    return list(takewhile(lambda event: event["op"] == "row", events))


def _calls(events: list[Event]) -> Iterator[list[Any]]:
    """The metrics of one run's rows, as many at a time as a call takes.

    Of every row SCORES; of rows at least APART all but NEWEST; of the last row all.
    """
    from mlflow.entities import Metric

    found: list[Any] = []
    told = -math.inf  # CLOCK of the row that was told last with more than SCORES
    for event in events:
        row, last = event["row"], event is events[-1]
        whole = last or row.get(CLOCK, math.inf) - told >= APART
        if whole:
            told = row.get(CLOCK, told)
        names = [name for name in row if last or (not name.startswith(NEWEST) if whole else name in SCORES)]
        if len(found) + len(names) > METRICS:
            yield found
            found = []
        found += [Metric(name, row[name], event["time"], event["step"]) for name in names]
    yield found


def _read(path: Path) -> Iterator[Event]:
    """The events of a journal, but for a last line that a crash cut short."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                file.seek(-len(line), os.SEEK_END)
                file.truncate()
                return
            yield json.loads(line)


def _hopeless(error: Exception) -> bool:
    """Whether sending again could not help: the store understood the event and refused it.

    A 404 of a proxy, or of a server that is being moved, is no refusal; that a run is gone is one.
    """
    if isinstance(error, KeyError) or getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
        return True
    status = getattr(error, "get_http_status_code", lambda: 500)()
    return 400 <= status < 500 and status not in (401, 403, 404, 408, 429)


def _short(error: Exception) -> str:
    """The first line of an error, without what libraries wrap around it."""
    text = bare(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
    return text if len(text) < 160 else text[:157] + "..."
