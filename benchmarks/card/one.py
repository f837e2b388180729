"""One item in this process, for `items.run`: PART NAME OPTIONS."""

import json
import sys
from pathlib import Path

from benchmarks.card.__main__ import PARTS
from benchmarks.card.items import Options, attempt
from bridge_nerf.files import write_atomic

part, name, said = sys.argv[1:]
given = json.loads(said)
options = Options(**given | {"out": Path(given["out"])})
found = attempt(PARTS[part]()[name], options)
write_atomic(options.out / f"{part}.item.json", json.dumps(found).encode())
