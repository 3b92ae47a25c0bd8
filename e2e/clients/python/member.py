"""What a member of a group prints; see ../README.md."""

import sys
import threading
import time


class Member:
    """count records, or records until the end of stdin."""

    def __init__(self, count=None):
        self.left = None if count is None else int(count)
        self.ended = threading.Event()
        if count is None:
            threading.Thread(target=self.wait, daemon=True).start()

    def wait(self):
        sys.stdin.read()
        self.ended.set()

    def done(self):
        return self.left == 0 or self.ended.is_set()

    def room(self, most=500):
        """How many records to ask for."""
        return most if self.left is None else min(most, self.left)

    def take(self, partition, offset, value):
        if self.left is not None:
            self.left -= 1
        self.say(partition, offset, value.decode())

    def say(self, *words):
        print(*words)

    def again(self, call, passes):
        """Calls until no error is told of which passes says that it does."""
        while True:
            try:
                return call()
            except Exception as err:
                if not passes(err):
                    raise
                self.say("error", repr(err))
                time.sleep(0.1)

    def assigned(self, generation, partitions):
        self.say("assigned", generation, *sorted(partitions))
        sys.stdout.flush()

    def revoked(self, partitions):
        self.say("revoked", *sorted(partitions))
        sys.stdout.flush()

    def committed(self, positions):
        for partition, offset in positions.items():
            self.say("committed", partition, offset)
        sys.stdout.flush()
