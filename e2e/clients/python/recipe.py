"""The records that every driver writes and expects; see ../README.md."""

ODD = 10
ODD_HEADERS = [("h1", b"one"), ("h2", b"two")]


def plain(i):
    return b"key-%d" % (i % 100), b"value-%d-" % i + b"x" * 80


def odd(i):
    key = None if i % 5 == 0 else b"k%d" % i
    value = None if i % 3 == 1 else b"v%d" % i
    return key, value


def check(i, offset, got, want):
    if offset != i:
        raise SystemExit(f"offset {offset} where {i} was expected")
    if got != want:
        raise SystemExit(f"record {i}: {got!r}, want {want!r}")
