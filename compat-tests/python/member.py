"""A member of a consumer group: what the programs of all libraries share.

The protocol is described in `tests/clients/group_member.rs`: options as one JSON argument, events as JSON lines out,
`stall` and `go` in, and the end of the input means to leave.
"""

import json
import sys
import threading
import time
import types


class Member:
    def __init__(self):
        self.options = types.SimpleNamespace(**json.loads(sys.argv[1]))
        self.leaving = False
        self._owned = set()
        self._output = threading.Lock()
        self._may_go = threading.Event()
        self._may_go.set()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in sys.stdin:
            if line.strip() == "stall":
                self._may_go.clear()
            else:
                self._may_go.set()
        self.leaving = True
        self._may_go.set()

    def gained(self, partitions):
        self._owned.update(partitions)
        self._tell(owns=sorted(self._owned))

    def gave_up(self, partitions):
        self._owned.difference_update(partitions)
        self._tell(owns=sorted(self._owned))

    def read(self, records):
        """Tells of `records`, pairs of partition and offset; gives what is to be committed, and stalls if asked to."""
        self._tell(records=records)
        self._may_go.wait()
        # The greatest offset of each partition comes last.
        return {partition: offset + 1 for partition, offset in records}

    def committed(self, offsets):
        self._tell(committed=list(offsets.items()))

    def failed(self, error):
        self._tell(failed=repr(error))

    def _tell(self, **event):
        with self._output:
            sys.stdout.write(json.dumps({"at": time.time_ns() // 1_000_000, **event}) + "\n")
            sys.stdout.flush()
