"""What the documentation needs of curl, for machines without one: ``-X``, ``-H``, ``-d``, ``-s``,
``-i``. Asks the server at ``DOCS_PORT``, whichever the URL names.
"""

from __future__ import annotations

import argparse
import os
from http.client import HTTPConnection
from urllib.parse import urlsplit


def main() -> None:
    parser = argparse.ArgumentParser(prog="curl")
    parser.add_argument("url")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-X", "--request")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data")
    asked = parser.parse_args()
    parts = urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")
    headers = dict(header.split(": ", 1) for header in asked.header)
    if asked.data is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    method = asked.request or ("GET" if asked.data is None else "POST")
    path = f"{parts.path or '/'}?{parts.query}".removesuffix("?")
    connection = HTTPConnection("127.0.0.1", int(os.environ["DOCS_PORT"]), timeout=30)
    connection.request(method, path, asked.data, {"Host": parts.netloc, **headers})
    answer = connection.getresponse()
    if asked.include:
        print(f"HTTP/1.1 {answer.status} {answer.reason}")  # noqa: T201
        for name, value in answer.getheaders():
            print(f"{name}: {value}")  # noqa: T201
        print()  # noqa: T201
    print(answer.read().decode(), end="")  # noqa: T201
    connection.close()


if __name__ == "__main__":
    main()
