#!/usr/bin/env python3
"""Takes over what fuzz/run has found: minimise.py TARGET...

Of corpus/TARGET and target/grown/TARGET the sixty inputs that together add most to what the seeds reach stay in corpus/TARGET.
libFuzzer says what each reaches; its own minimum is several hundred files, for the last few places. What was named by hand
once broke something, and stays."""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MOST_FILES, MOST_BYTES = 60, 200_000


def reached(target, inputs, scratch):
    """Each input and the places it reaches."""
    (binary,) = HERE.glob(f"target/*/release/{target}")
    control = scratch / "control"
    command = [binary, "-merge=1", "-use_counters=0", f"-merge_control_file={control}", scratch / "merged", inputs]
    (scratch / "merged").mkdir()
    subprocess.run(command, check=True, capture_output=True, env={"TMPDIR": str(scratch)})
    lines = control.read_text().splitlines()
    count = int(lines[0])
    files = [pathlib.Path(line) for line in lines[2:2 + count]]
    places = {}
    for line in lines[2 + count:]:
        kind, number, *found = line.split()
        if kind in ("FT", "COV"):
            places.setdefault(files[int(number)], set()).update((kind, place) for place in found)
    return places


def chosen(places):
    """Greedily, whatever adds most; of equals the smaller."""
    rest, seen, bytes_left = dict(places), set(), MOST_BYTES
    for file in [file for file in rest if file.name.startswith("seed-")]:
        seen |= rest.pop(file)
    named = [file for file in rest if not re.fullmatch(r"[0-9a-f]{40}", file.name)]
    for file in named:
        seen |= rest.pop(file)
        bytes_left -= file.stat().st_size
        yield file
    for _ in range(MOST_FILES - len(named)):
        fitting = [file for file in rest if file.stat().st_size <= bytes_left]
        best = max(fitting, key=lambda file: (len(rest[file] - seen), -file.stat().st_size), default=None)
        if best is None or rest[best] <= seen:
            return
        seen |= rest.pop(best)
        bytes_left -= best.stat().st_size
        yield best


for target in sys.argv[1:]:
    corpus = HERE / "corpus" / target
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        inputs = scratch / "inputs"
        inputs.mkdir()
        for file in [*HERE.glob(f"target/grown/{target}/*"), *HERE.glob(f"target/seeds/{target}/*"), *corpus.glob("*")]:
            shutil.copy(file, inputs / file.name)
        places = reached(target, inputs, scratch)
        kept = list(chosen(places))
        shutil.rmtree(corpus)
        corpus.mkdir()
        for file in kept:
            shutil.copy(file, corpus / file.name)
        all_places = set().union(*places.values())
        seeds = [file for file in places if file.name.startswith("seed-")]
        kept_places = set().union(*(places[file] for file in kept + seeds))
        size = sum(file.stat().st_size for file in kept)
        reach = f"with the seeds {len(kept_places)} of {len(all_places)} places"
        print(f"{target}: {len(kept)} of {len(places)} inputs, {size} bytes; {reach}")
