"""Take the pictures of README and documentation: real pages, with the same keys each time.

    python docs/pictures

Needs the dependency group "tests", a Chromium (``ORGKEYS_TEST_CHROMIUM`` names another than the one
on the path), pngquant, which makes the pictures small, and npm, which fetches the style sheets of
Bootstrap and Pico. Each page that is taken has to pass axe.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from unittest import mock

import time_machine

sys.path.insert(0, str(Path(__file__).parents[2]))

import cockpit
import layouts
from keys import NOW

from flask_orgkeys import tokens


def main() -> None:
    numbers = random.Random(11)  # noqa: S311

    def same_text(length: int) -> str:
        return "".join(numbers.choices(tokens.ALPHABET, k=length))

    with (
        mock.patch.object(tokens, "_random_text", same_text),
        time_machine.travel(NOW, tick=True),
        tempfile.TemporaryDirectory() as folder,
    ):
        cockpit.take_pictures(Path(folder))
        layouts.take_pictures(Path(folder))


if __name__ == "__main__":
    main()
