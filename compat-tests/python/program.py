"""The loop of a client program: requests as JSON lines in, answers as JSON lines out.

The vocabulary is described in `src/client.rs`. A client is a class with a method per request, named like it with
underscores, that takes the request's fields as keyword arguments and returns the answer. A failure whose exception is
a `Refused` is reported with Kafka's error code, any other without one.
"""

import base64
import json
import sys
import time
import traceback


class Refused(Exception):
    """The broker refused a request with a Kafka error code."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def run(client):
    for line in sys.stdin:
        request = json.loads(line)
        method = getattr(client, request.pop("do").replace("-", "_"))
        try:
            answer = {"ok": method(**request)}
        except Refused as refused:
            answer = {"error": {"code": refused.code, "message": str(refused)}}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": {"code": None, "message": repr(error)}}
        print(json.dumps(answer), flush=True)


def encode(value):
    return None if value is None else base64.b64encode(value).decode()


def decode(text):
    return None if text is None else base64.b64decode(text)


def record(partition, offset, timestamp, key, value, headers):
    return {
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp,
        "key": encode(key),
        "value": encode(value),
        "headers": [[name, encode(value)] for name, value in headers],
    }


def headers_of(record):
    return [(name, decode(value)) for name, value in record["headers"]]


def collect(count, poll):
    """Calls `poll` for lists of records until `count` came."""
    deadline = time.monotonic() + 50
    records = []
    while len(records) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(records)} of {count} records came")
        records.extend(poll())
    return records
