"""Runs the integration tests of kafka-python, from its source distribution, against a broker that runs already.

    kafka_python_suite.py FOLDER BOOTSTRAP

The distribution is of the installed version; pip fetches it into FOLDER at the first use. Prints a JSON line per
test, `{"test": …, "outcome": "passed" | "failed" | "skipped", "why": …}`, in the order in which they end.

The distribution lacks `test/service.py`, which starts and stops brokers. What stands in for it here starts none: the
suite takes the address of a running one from the environment, and its tests of SASL, TLS and access control, which need
brokers that are configured for it, are left out.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import types

import kafka
import pytest

# The newest version that the library knows; it takes the place of asking the broker.
BROKER_VERSION = "4.3"
SECONDS_PER_TEST = 60


def fetched(folder):
    """The folder of the unpacked distribution. It is complete once it is there: it is moved there in one step."""
    version = importlib.metadata.version("kafka-python")
    name = f"kafka_python-{version}"
    sources = os.path.join(folder, name)
    if os.path.isdir(sources):
        return sources
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        download += ["--no-binary", "kafka-python", "--dest", fresh, f"kafka-python=={version}"]
        subprocess.run(download, check=True, stdout=sys.stderr)
        with tarfile.open(os.path.join(fresh, f"{name}.tar.gz")) as archive:
            archive.extractall(fresh, filter="data")
        os.rename(os.path.join(fresh, name), sources)
    return sources


class RunningBroker:
    """What the suite's fixtures expect of a broker that was not started by them."""

    def __init__(self, host, port):
        self.host = host
        self.port = port

    def dump_logs(self):
        """They are elsewhere."""


class NoBroker:
    """Refuses to be one."""

    def __init__(self, *_):
        raise RuntimeError("this suite starts no brokers")


def add_package(sources):
    """Makes `test` the suite's package, rather than Python's own of that name, with a `test.service` in it."""
    package = types.ModuleType("test")
    package.__path__ = [os.path.join(sources, "test")]
    service = types.ModuleType("test.service")
    service.ExternalService = RunningBroker
    service.SpawnedService = NoBroker
    sys.modules.update({"test": package, "test.service": service})


def subscribe_after_first_metadata():
    """Lets consumers get their first metadata before they subscribe.

    A new consumer asks for metadata of no topic at once, in a thread of its own. If it subscribes while that answer is
    under way, the answer makes it forget that it wants more, and it asks again only after five minutes. Where the
    machine is busy, a test that reads right after it made its consumer fails by that, with any broker.
    """
    make = kafka.KafkaConsumer.__init__

    def make_patiently(self, *topics, **configs):
        make(self, **configs)
        self.bootstrap()
        if topics:
            self.subscribe(topics)
            # A leader of a group that does not know the partitions yet gives out none.
            for topic in topics:
                self.partitions_for_topic(topic)

    kafka.KafkaConsumer.__init__ = make_patiently


class Reporter:
    """Prints how each test ended: a test fails where any of its phases does."""

    def __init__(self, output):
        self.output = output
        self.outcome = None
        self.why = ""

    def pytest_runtest_logreport(self, report):
        if report.when == "setup" or (report.failed and self.outcome != "failed"):
            self.outcome = report.outcome
            self.why = report.longreprtext if report.failed else ""
        elif report.when == "call" and self.outcome == "passed":
            self.outcome = report.outcome
        if report.when == "teardown":
            _, _, name = report.nodeid.rpartition("/")
            line = {"test": name, "outcome": self.outcome, "why": self.why}
            print(json.dumps(line), file=self.output, flush=True)


def main(folder, bootstrap):
    sources = fetched(folder)
    add_package(sources)
    subscribe_after_first_metadata()
    os.chdir(sources)
    os.environ.update(KAFKA_URI=f"kafka://{bootstrap}", KAFKA_VERSION=BROKER_VERSION, KAFKA_ROOT=sources)
    # Standard output is for the outcomes alone: the suite prints even when the interpreter ends.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    arguments = ["--quiet", "--tb=short", "-p", "no:cacheprovider", "--capture=sys"]
    arguments += ["--override-ini=addopts=", "--override-ini=log_level=WARNING", f"--timeout={SECONDS_PER_TEST}"]
    arguments += [f"--ignore=test/integration/test_{name}_integration.py" for name in ("sasl", "ssl")]
    arguments.append("--deselect=test/integration/test_admin_integration.py::test_create_describe_delete_acls")
    status = pytest.main([*arguments, "test/integration"], plugins=[Reporter(output)])
    return 0 if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) else int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
