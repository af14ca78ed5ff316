"""Prints how the Python modules start their containers, as one line of JSON each.

The modules' own code runs, with a container that notes what it is told instead of asking an engine. Ports are mapped to themselves.
"""

import json
import shlex
import sys
import types
import typing

HOST = "tc"


class DockerContainer:
    """Notes what the modules ask for."""

    def __init__(self, image, entrypoint=None, **_):
        self.image, self.env, self.command, self.later = image, {}, "", []
        self.entrypoint = [entrypoint] if entrypoint else []
        self._network = None

    def with_exposed_ports(self, *_):
        return self

    def with_env(self, name, value):
        self.env[name] = str(value)
        return self

    def with_command(self, command):
        self.command = command
        return self

    def start(self):
        return self

    def get_container_host_ip(self):
        return "localhost"

    def get_exposed_port(self, port):
        return port


class LogMessageWaitStrategy:
    """Has nothing to wait for."""

    def __init__(self, pattern):
        pass

    def with_startup_timeout(self, _):
        return self

    def wait_until_ready(self, _):
        pass


def stand_in(name, **names):
    module = types.ModuleType(name)
    vars(module).update(names)
    sys.modules[name] = module


class ComparableVersion:
    """Every version is recent."""

    def __init__(self, _):
        pass

    def __lt__(self, _):
        return False


stand_in("typing_extensions", Self=typing.Any)
stand_in("testcontainers.core")
stand_in("testcontainers.core.container", DockerContainer=DockerContainer)
stand_in("testcontainers.core.utils", raise_for_deprecated_parameter=lambda *_: None)
stand_in("testcontainers.core.version", ComparableVersion=ComparableVersion)
stand_in("testcontainers.core.wait_strategies", LogMessageWaitStrategy=LogMessageWaitStrategy)

from testcontainers.community.kafka import KafkaContainer, RedpandaContainer  # noqa: E402


def show(name, container, port):
    later = []
    container.create_file = lambda content, path: later.append([path, content.decode()])
    container.start()
    module = {
        "name": f"python-{name}",
        "env": container.env,
        "command": container.entrypoint + shlex.split(container.command),
        "files": [],
        "later": later,
        "ready": container.wait_for.pattern,
        "port": port,
    }
    print(json.dumps(module))


show("zookeeper", KafkaContainer(), 9093)
show("kraft", KafkaContainer().with_kraft(), 9093)
show("redpanda", RedpandaContainer(), 9092)
