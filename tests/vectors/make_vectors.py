#!/usr/bin/env python3
"""Makes the signature vectors with third-party libraries of another language: an opinion that shares no line with ours.

    python3 -m venv venv && venv/bin/pip install -r tests/vectors/requirements.txt
    venv/bin/python tests/vectors/make_vectors.py           # writes tests/fixtures/*.json
    venv/bin/python tests/vectors/make_vectors.py --check   # compares instead

Everything is deterministic (RFC 6979 nonces, fixed seeds). The keys are made up and must never sign anything real.
"""
import hashlib
import json
import pathlib
import random
import struct
import sys

import blake3
import ecdsa
import rfc8785
from ecdsa.util import sigencode_string

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
ORDER = ecdsa.SECP256k1.order
KEY = ecdsa.SigningKey.from_string(bytes([7] * 32), curve=ecdsa.SECP256k1)
OTHER = ecdsa.SigningKey.from_string(bytes([9] * 32), curve=ecdsa.SECP256k1)
UNCOMPRESSED = KEY.verifying_key.to_string("uncompressed").hex()
COMPRESSED = KEY.verifying_key.to_string("compressed").hex()


def canonical(value):
    return rfc8785.dumps({k: v for k, v in value.items() if k != "signature"})


def sign(digest, key=KEY):
    raw = key.sign_digest_deterministic(digest, hashfunc=hashlib.sha256, sigencode=sigencode_string)
    r, s = raw[:32], int.from_bytes(raw[32:], "big")
    return (r + min(s, ORDER - s).to_bytes(32, "big")).hex()


def high(signature):
    return signature[:64] + (ORDER - int(signature[64:], 16)).to_bytes(32, "big").hex()


def with_signature(wire, signature):
    """The wire text with the signature as its first root member."""
    body = wire.strip()[1:]
    comma = "" if body.strip() == "}" else ","
    return '{"signature":' + json.dumps(signature) + comma + body


BASE = {
    "data": {"active_status": {"code": "REVOKED", "messages": ""}, "certificate_base64": None, "uaekyc_id": 12345},
    "errors": [], "meta": {"filters": {}, "timestamp": "2025-05-13T10:15:30.456Z"}, "success": True,
}

# name, wire text without signature; the canonical form is made from the parsed value by another library.
WIRES = [
    ("the published vector", json.dumps(BASE, separators=(",", ":"), sort_keys=True)),
    ("white space everywhere", json.dumps(BASE, indent=3)),
    ("keys in another order", json.dumps(dict(reversed(list(BASE.items()))))),
    ("slashes escaped", '{"url":"https:\\/\\/example.invalid\\/a","plain":"a/b"}'),
    ("Arabic escaped", '{"name":"\\u0645\\u062d\\u0645\\u062f"}'),
    ("Arabic raw", '{"name":"\u0645\u062d\u0645\u062f"}'),
    ("astral as a surrogate pair", '{"x":"\\ud83d\\ude00"}'),
    ("astral raw", '{"x":"\U0001f600"}'),
    ("controls by letter", '{"x":"\\b\\t\\n\\f\\r\\"\\\\"}'),
    ("controls by number", '{"x":"\\u0008\\u0009\\u000a\\u000c\\u000d\\u0022\\u005c\\u0000\\u001f"}'),
    ("DEL and line separators raw", '{"x":"\u007f\u2028\u2029"}'),
    ("keys in UTF-16 order", '{"\ufb33":1,"\U0001f600":2,"\u20ac":3,"\\u0080":4,"a":5,"1":6,"\\r":7}'),
    ("keys that only look alike", '{"a\\\\u0062":1,"ab":2,"\\u0061c":3}'),
    ("an empty key", '{"":1,"a":{"":[]}}'),
    ("a nested signature", '{"data":{"signature":"kept"},"list":[{"signature":1}]}'),
    ("nests and nothings", '{"a":[[],{},[null,true,false]],"b":{"c":{"d":[1,[2,[3]]]}}}'),
    ("numbers", '{"n":[12345.0,1e21,1E20,1e-7,0.000001,-0,-0.0,333333333.33333329,4.50,2e-3,1e23,5e-324,1.7976931348623157e308,'
                '0.1,100,-1.5e-10,9007199254740991,123456789012345680]}'),
    ("an integer no double has", '{"n":9007199254740993}'),
]


def parse(wire):
    # Integers are doubles here, as in RFC 8785.
    return json.loads(wire, parse_int=lambda text: float(text) if abs(int(text)) > 2**53 - 1 else int(text))


def signature_vectors():
    vectors = []

    def add(name, wire, signature, valid, key=UNCOMPRESSED):
        form = canonical(parse(wire))
        vectors.append({
            "name": name, "wire": with_signature(wire, signature), "canonical": form.decode(),
            "blake3": blake3.blake3(form).hexdigest(), "public_key": key, "valid": valid,
        })

    for name, wire in WIRES:
        digest = blake3.blake3(canonical(parse(wire))).digest()
        add(name, wire, sign(digest), True)
    wire = WIRES[0][1]
    form = canonical(parse(wire))
    digest = blake3.blake3(form).digest()
    genuine = sign(digest)
    add("high s", wire, high(genuine), True)
    add("compressed key", wire, genuine, True, COMPRESSED)
    add("compressed key and high s", wire, high(genuine), True, COMPRESSED)
    add("upper-case hex", wire, genuine.upper(), True)
    add("another key", wire, sign(digest, OTHER), False)
    add("a second hash", wire, sign(hashlib.sha256(digest).digest()), False)
    add("SHA-256 instead", wire, sign(hashlib.sha256(form).digest()), False)
    loose = json.dumps(BASE, indent=1)
    add("the wire text signed, not its values", loose, sign(blake3.blake3(loose.encode()).digest()), False)
    add("with 0x", wire, "0x" + genuine, False)
    add("63 bytes", wire, genuine[:-2], False)
    add("an odd digit", wire, genuine[:-1], False)
    add("65 bytes", wire, genuine + "00", False)
    add("65 bytes, recovery byte first", wire, "1b" + genuine, False)
    add("white space", wire, genuine + " ", False)
    r, s = int(genuine[:64], 16), int(genuine[64:], 16)
    add("DER", wire, ecdsa.util.sigencode_der(r, s, ORDER).hex(), False)
    add("r and s exchanged", wire, genuine[64:] + genuine[:64], False)
    return vectors


def scalar_edges():
    """r and s where implementations go wrong; only the genuine pair and its high twin verify."""
    digest = blake3.blake3(canonical(BASE)).digest()
    genuine = sign(digest)
    r, s = int(genuine[:64], 16), int(genuine[64:], 16)
    prime = ecdsa.SECP256k1.curve.p()
    edges = [("genuine", r, s, True), ("high s", r, ORDER - s, True)]
    odd = [0, 1, 2, ORDER - 1, ORDER, ORDER + 1, prime - 1, prime, prime + 1, 2**256 - 1, (ORDER - 1) // 2, (ORDER + 1) // 2]
    edges += [(f"r = odd value {at}", value, s, False) for at, value in enumerate(odd)]
    edges += [(f"s = odd value {at}", r, value, False) for at, value in enumerate(odd)]
    edges += [(f"both odd value {at}", value, value, False) for at, value in enumerate(odd)]
    if r + ORDER < 2**256:
        edges.append(("r + n", r + ORDER, s, False))
    return [{"name": name, "signature": f"{r:064x}{s:064x}", "valid": valid} for name, r, s, valid in edges]


def jcs_vectors():
    """RFC 8785's own examples, and random doubles."""
    text = ('{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
            '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}')
    expected = ('{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
                '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}')
    order = ('{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
             '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control","\\u00f6":"Latin Small Letter O With Diaeresis"}')
    sorted_keys = ('{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
                   '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}')
    texts = [{"name": "section 3.2.2", "input": text, "canonical": expected}, {"name": "section 3.2.3", "input": order, "canonical": sorted_keys}]
    appendix_b = [
        ("0000000000000000", "0"), ("8000000000000000", "0"), ("0000000000000001", "5e-324"), ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"), ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"), ("c340000000000000", "-9007199254740992"), ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"), ("44b52d02c7e14af6", "1e+23"), ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"), ("444b1ae4d6e2ef4f", "999999999999999900000"), ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"), ("3eb0c6f7a0b5ed8d", "0.000001"), ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"), ("41b3de4355555555", "333333333.3333333"), ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"), ("becbf647612f3696", "-0.0000033333333333333333"), ("43143ff3c1cb0959", "1424953923781206.2"),
    ]
    source = random.Random(8785)
    drawn = []
    while len(drawn) < 400:
        bits = source.getrandbits(64)
        value = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
        if value == value and abs(value) != float("inf"):
            drawn.append((f"{bits:016x}", rfc8785.dumps(value).decode()))
    return {"texts": texts, "numbers": [{"bits": bits, "text": text} for bits, text in appendix_b + drawn]}


def main():
    made = {"signature_vectors.json": signature_vectors(), "scalar_edges.json": scalar_edges(), "jcs_vectors.json": jcs_vectors()}
    stale = []
    for name, value in made.items():
        text = json.dumps(value, ensure_ascii=True, indent=1) + "\n"
        if "--check" in sys.argv:
            stale += [name] if (FIXTURES / name).read_text() != text else []
        else:
            (FIXTURES / name).write_text(text)
    if stale:
        sys.exit(f"differ from what this script makes: {', '.join(stale)}")


main()
