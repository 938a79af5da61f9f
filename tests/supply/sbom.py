"""Writes what the shipped binary is made of as CycloneDX 1.5 JSON, from what Cargo resolves, and validates it.

Crates that run only while building (procedural macros, build scripts) have scope "excluded"; what only tests use is left out.
The same tree always gives the same bytes. Usage: sbom.py FILE
"""

import json
import re
import subprocess
import sys
import tomllib
import uuid

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

TARGET = "x86_64-unknown-linux-gnu"


def cargo(*arguments):
    command = ["cargo", *arguments, "--locked", "--no-default-features"]  # as for the container: no sandbox
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def resolved():
    """The graph of all crates, and which of them are built. The graph alone has too many: it knows no features by purpose,
    so what tests switch on seems to be on everywhere."""
    graph = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", TARGET))
    tree = cargo("tree", "--target", TARGET, "--edges", "normal,build", "--prefix", "none", "--format", "{p}")
    built = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    return graph, {(name, version.removeprefix("v")) for name, version in built}


def checksums():
    with open("Cargo.lock", "rb") as file:
        lock = tomllib.load(file)
    return {(crate["name"], crate["version"]): crate.get("checksum") for crate in lock["package"]}


def reach(root, nodes, packages, built):
    """Every crate that the binary needs, and whether it is in it: what a macro or a build script needs is not."""
    in_binary, edges, to_do = {}, {}, [(root, True)]
    while to_do:
        one, is_in = to_do.pop()
        if in_binary.get(one) or (one in in_binary and not is_in):
            continue
        in_binary[one] = is_in
        edges[one] = set()
        for dependency in nodes[one]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]} - {"dev"}
            if not kinds:
                continue
            other = dependency["pkg"]
            if (packages[other]["name"], packages[other]["version"]) not in built:
                continue
            edges[one].add(other)
            is_macro = any("proc-macro" in target["kind"] for target in packages[other]["targets"])
            to_do.append((other, is_in and None in kinds and not is_macro))
    return in_binary, edges


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, is_in, checksum):
    entry = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if is_in else "excluded",
        "purl": purl(package),
    }
    if package.get("description"):
        entry["description"] = " ".join(package["description"].split())
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("license"):
        # Older crates write a slash where SPDX says OR.
        entry["licenses"] = [{"expression": re.sub(r" ?/ ?", " OR ", package["license"])}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return entry


def bom():
    (metadata, built), sums = resolved(), checksums()
    packages = {package["id"]: package for package in metadata["packages"]}
    root = metadata["resolve"]["root"]
    in_binary, edges = reach(root, {node["id"]: node for node in metadata["resolve"]["nodes"]}, packages, built)
    order = sorted(in_binary, key=lambda one: (packages[one]["name"], packages[one]["version"]))
    with open("Cargo.lock", encoding="utf-8") as lock:
        serial = uuid.uuid5(uuid.NAMESPACE_URL, purl(packages[root]) + lock.read())
    main = component(packages[root], True, None) | {"type": "application"}
    del main["scope"]
    entries = []
    for one in order:
        if one != root:
            package = packages[one]
            entries.append(component(package, in_binary[one], sums.get((package["name"], package["version"]))))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": main,
            "properties": [{"name": "cargo:target", "value": TARGET}, {"name": "cargo:features", "value": "none"}],
        },
        "components": entries,
        "dependencies": [
            {"ref": purl(packages[one]), "dependsOn": sorted(purl(packages[other]) for other in edges[one])} for one in order
        ],
    }


def problems(text):
    """By the standard's own schema, and by what it cannot say."""
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    if error is not None:
        yield f"not CycloneDX 1.5: {error}"
    read = json.loads(text)
    components = read["components"]
    refs = [entry["bom-ref"] for entry in components] + [read["metadata"]["component"]["bom-ref"]]
    if len(refs) != len(set(refs)):
        yield "a component stands in it twice"
    for dependency in read["dependencies"]:
        for ref in [dependency["ref"], *dependency["dependsOn"]]:
            if ref not in refs:
                yield f"{ref} is needed and not listed"
    for entry in components:
        for member in ("hashes", "licenses"):
            if member not in entry:
                yield f"{entry['bom-ref']} has no {member}"
    required = {entry["name"] for entry in components if entry["scope"] == "required"}
    for name in ("hyper", "rustls", "secp256k1", "blake3", "tokio"):
        if name not in required:
            yield f"{name} is in the binary and not listed so"
    for name in ("k256", "jpeg-encoder", "proptest", "httpmock"):
        if any(entry["name"] == name for entry in components):
            yield f"{name} is not in the binary and listed"


def main():
    text = json.dumps(bom(), indent=1, ensure_ascii=False) + "\n"
    found = list(problems(text))
    for problem in found:
        print(f"sbom: {problem}", file=sys.stderr)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(text)
    entries = json.loads(text)["components"]
    required = sum(entry["scope"] == "required" for entry in entries)
    print(f"sbom: {required} crates in the binary, {len(entries) - required} only while building; {sys.argv[1]}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
