"""What is wrong with a tracking store, said before a sweep spends anything. It knows databases and no MLflow."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from coconut.config import InputError

ADVICE = {  # by what an answer says, in the words that follow the store's address
    401: "wants another user or password: name them in --tracking-uri, or set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD",
    403: "does not let this user write: choose another in --tracking-uri",
    404: "is no MLflow server: check host, port and path of --tracking-uri",
}
AWAY = "does not answer: start it, or give another --tracking-uri"


def look_at_file(uri: str) -> None:
    """InputError for a sqlite file that cannot be written, or is something else than MLflow's."""
    path = Path(uri.partition(":///")[2])
    if not path.is_file():
        above = next(folder for folder in path.parents if folder.exists())
        if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
            raise InputError(f"--tracking-uri {uri} cannot be written; give a file in a folder of yours.")
        return
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise InputError(f"--tracking-uri {uri} is no database ({error}); give another file.") from error
    if tables and not {"experiments", "runs"} <= tables:
        raise InputError(f"--tracking-uri {uri} is a database of something else than MLflow; give another file.")
    if not os.access(path, os.W_OK):
        raise InputError(f"--tracking-uri {uri} cannot be written; give a file of yours.")


def look_at_driver(uri: str) -> None:
    """InputError for a database whose driver is missing or that does not answer, which MLflow would try for hours."""
    if uri.startswith(("http", "databricks")):
        return
    from sqlalchemy import create_engine

    try:
        create_engine(uri).connect().close()
    except ModuleNotFoundError as error:
        kind = uri.split(":")[0]
        raise InputError(f"--tracking-uri of the kind {kind} needs the package {error.name}; install it.") from error


def advice(error: Exception) -> str:
    """What to do about an error of a store, as the end of a sentence about it."""
    status = getattr(error, "get_http_status_code", lambda: 0)()
    return ADVICE.get(status, AWAY)
