#!/usr/bin/env python3
"""Writes the first inputs of every target into a directory, from tests/fixtures and config: seeds.py DIRECTORY

fuzz/run does so each time, and goes on from there and from corpus: see README.md."""
import base64
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = pathlib.Path(sys.argv[1])
TOKEN = "00000000-0000-4000-8000-0000000000%02d"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(20))


def fixture(name):
    return json.loads((ROOT / "tests/fixtures" / name).read_text())


def write(target, inputs):
    directory = OUT / target
    directory.mkdir(parents=True, exist_ok=True)
    for at, data in enumerate(inputs):
        data = data.encode() if isinstance(data, str) else data
        (directory / f"seed-{at:02}").write_bytes(data)


def answer(image):
    return json.dumps({
        "success": True,
        "data": {"uaekyc_id": 1, "certificate_base64": image, "certificate_etag": "etag", "issued_on": "2025-01-01T00:00:00Z",
                 "expires_on": "2026-01-01T00:00:00+04:00", "active_status": {"code": "ACTIVE", "messages": ""}},
        "message": "", "meta": {"timestamp": "2025-05-13T12:00:00.123456Z", "filters": {}}, "errors": [], "signature": "00",
    })


def data_urls():
    url = "data:image/jpeg;base64,"
    for length in (3, 4, 5, 24):
        yield url + base64.b64encode(JPEG[:length]).decode()
    yield "DATA:Image/JPEG;Base64," + base64.b64encode(JPEG).decode()
    yield url + base64.b64encode(b"\x89PNG").decode()
    yield url + "/9j/4B=="
    yield url + "/9j/4A"
    yield url + "/9j_4A=="
    yield "data:image/png;base64,/9j/"
    yield ""


def http1():
    path, base = "/otk-service/v1/certificates/", "host: localhost\r\n"
    get = lambda target, more="": f"GET {target} HTTP/1.1\r\n{base}{more}\r\n"
    for number in range(11):
        yield get(path + TOKEN % number + "/image")
        yield get(path + TOKEN % number)
    one = path + TOKEN % 1
    yield f"HEAD {one}/image HTTP/1.1\r\n{base}if-none-match: W/\"x\", \"etag-of-1\"\r\n\r\n"
    yield get(one, "if-none-match: *\r\ncache-control: no-cache\r\nx-request-id: a.b-c\r\n")
    yield get(one) + get(one + "/image") + get("/")
    yield get(one, "origin: https://app.example\r\n")
    yield get(one + "/image", "sec-fetch-site: cross-site\r\n") + get(one, "sec-fetch-site: cross-site\r\n")
    yield get(one, "content-length: 5\r\n") + "hello" + get(one)
    yield get(one, "transfer-encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n" + get(one)
    yield get(one, "transfer-encoding: chunked\r\ncontent-length: 5\r\n") + "0\r\n\r\n" + get(one)
    yield get(one, "content-length: 5\r\ntransfer-encoding: chunked\r\n") + "0\r\n\r\n" + get(one)
    yield get(one, "content-length: 0\r\ncontent-length: 0\r\n") + get(one)
    yield get(one, "expect: 100-continue\r\ncontent-length: 5\r\n") + "hello"
    yield get(one, "host: 127.0.0.1\r\n")
    yield get("http://localhost" + one) + get("http://evil.example" + one)
    yield f"GET {one} HTTP/1.0\r\nhost: [::1]:80\r\nconnection: keep-alive\r\n\r\nGET {one}/image HTTP/1.0\r\n\r\n"
    yield f"GET {one} HTTP/1.1\nhost: localhost.:8080\n\n"
    yield get(path + "x", "upgrade: h2c\r\nconnection: upgrade\r\n")
    yield get(one + "?a=b") + get(path + "%2e%2e/" + TOKEN % 1) + get("//x")
    journey = f"POST /otk-service/v2/create-journey?a=b HTTP/1.1\r\n{base}"
    yield journey + "content-type: application/json\r\ncookie: a=b\r\nx-transaction-key: mine\r\ncontent-length: 2\r\n\r\n{}"
    yield journey + "transfer-encoding: chunked\r\ntrailer: x\r\n\r\n2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n"
    yield get("/otk-service/v2/journey-details/abc", "x-forwarded-for: 10.0.0.1\r\nauthorization: Bearer x\r\nconnection: x-a\r\nx-a: b\r\n")
    yield get("/otk-service/v2/journey-details/twice")
    yield f"PUT /otk-service/v2/x/plain HTTP/1.1\r\n{base}te: trailers\r\ncontent-length: 1\r\n\r\nx" + get(one)
    yield f"OPTIONS * HTTP/1.1\r\n{base}\r\nCONNECT localhost:80 HTTP/1.1\r\n{base}\r\n"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def http2(*requests):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
    for at, fields in enumerate(requests):
        block = b"".join(b"\0" + bytes([len(part)]) + part if first else bytes([len(part)]) + part
                         for name, value in fields.items() for first, part in ((True, name.encode()), (False, value.encode())))
        preface += frame(1, 5, 2 * at + 1, block)
    return preface + frame(4, 1, 0)


def requests():
    for at, text in enumerate(http1()):
        yield bytes([(0, 7, 1)[at % 3]]) + text.encode()
    fields = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": f"/otk-service/v1/certificates/{TOKEN % 1}/image"}
    yield b"\0" + http2(fields, fields | {":authority": "evil.example"}, fields | {":path": "/", "te": "trailers"})
    yield b"\x05" + http2(fields | {":method": "HEAD"}, fields | {"host": "localhost", "if-none-match": '"etag-of-1"'})


wires = [vector["wire"] for vector in fixture("signature_vectors.json")]
texts = [vector["input"] for vector in fixture("jcs_vectors.json")["texts"]]
image = "data:image/jpeg;base64," + base64.b64encode(JPEG).decode()
answers = [answer(image), answer(image.replace("/", "\\/").replace("\\\\", "\\")), answer(None), answer("x" * 30)]
signatures = [vector["signature"] for vector in fixture("scalar_edges.json")][:12]
unsigned = [vector["canonical"] for vector in fixture("signature_vectors.json")]

write("envelope", wires[:18] + texts + answers + ['{"a":[{"certificate_base64":1}],"b":"data:"}', '{"a":1,"\\u0061":2}', "[]", '{"n":-0.5E+3}'])
write("canonical", [bytes((at * 7 + seed) % 256 for at in range(200)) for seed in range(4)] + [wire.encode() for wire in wires[:6]])
write("signature", [b"\0" + wire.encode() for wire in wires] + [b"\1\x10\0" + bytes([at]) + text.encode() for at, text in enumerate(unsigned[:8])]
      + [b"\2" + text.encode() for text in signatures + ["", "0x00", signatures[0].upper()]])
write("data_url", [bytes([at % 3]) + text.encode() for at, text in enumerate(list(data_urls()) * 3)])
write("if_none_match", ["abc\n*", 'abc\n"abc"', 'abc\nW/"abc.0123abcd" , "x"', 'a,b\n"a,b"\n"c"', 'x\n,, "x"\t,', 'x\nW/ "x"', 'x\n"x" "y"', "x\n*\n*", "x\n",
                        'x\n"\xe9", "x"'])
write("journey_token", [TOKEN % 1, "0B7A9F52-3C1D-4E8F-9A6B-5C4D3E2F1A0B", "0b7a9f523c1d4e8f9a6b5c4d3e2f1a0b", "{0b7a9f52-3c1d-4e8f-9a6b-5c4d3e2f1a0b}",
                        "0b7a9f52-3c1d-1e8f-9a6b-5c4d3e2f1a0b", "0b7a9f52-3c1d-4e8f-1a6b-5c4d3e2f1a0b", TOKEN % 1 + "/image", "x?y", "%30"])
key = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
minimal = f'[upstream]\nbase_url = "https://otk.example.ae"\napi_key_env = "K"\n[signature]\npublic_keys = ["{key}"]\n'
gateway = "\n".join(line for line in (ROOT / "config/gateway.toml").read_text().replace("/run/secrets/otk-api-key", "/secret").splitlines()
                    if line and not line.startswith("#"))
rest = """[listen]
address = "10.0.0.1:8443"
allow_remote = true
client_token_file = "/secret"
tls_cert_file = "/pem"
tls_key_file = "/pem"
client_ca_file = "/pem"
allowed_origins = ["https://app.example.ae"]
[admin]
token_file = "/secret"
[audit]
file = "/a-{hostname}"
pseudonym_key_file = "/secret"
rotate_size = "1MiB"
[telemetry]
otlp_endpoint = "http://localhost:4318"
[[passthrough]]
method = "GET"
path = "/a/{b}"
signature = "enforce"
"""
more = ["ca_file", "client_cert_file", "client_key_file"]
upstream = minimal.replace("[signature]", "".join(f'{name} = "/pem"\n' for name in more) + 'proxy = "http://egress:3128"\nrequests_per_second = 2.5\n[signature]\npublic_key_files = ["/keys"]')
write("config", [minimal, gateway, minimal + rest, upstream, "passthrough = []\n" + minimal, minimal.replace('"K"', '"@@"'), minimal.replace("api_key_env", "api_key"),
                 "OTK_GATEWAY__CACHE__MAX_EXPOSURE=10s\nOTK_GATEWAY__LISTEN__ALLOWED_HOSTS=[\"a.example\"]\nOTK_GATEWAY__LOG__LEVEL=warn,otk_gateway::upstream=debug\n\0" + minimal,
                 "OTK_GATEWAY__UPSTREAM__API_KEY=@@\nHTTPS_PROXY=@@\nTOKIO_WORKER_THREADS=2\n\0" + minimal + '[cache]\nmax_exposure = "@@"\n',
                 minimal + '[log]\nlevel = "trace"\nformat = "json"\n[runtime]\nworker_threads = 2\n[listen]\naddress = "unix:/run/x.sock"\n',
                 minimal + '[cache]\n"@@" = 1\n["@@"]\n["a.@@"]\n[[passthrough]]\n"@@" = "@@"\n', minimal.replace("public_keys = [", 'public_keys = ["@@", '),
                 "OTK_GATEWAY__@@=1\nOTK_GATEWAY__CACHE__@@=@@\nOTK_GATEWAY__SIGNATURE__PUBLIC_KEYS=@@\n\0" + minimal,
                 minimal + '[listen]\naddress = "unix:@@"\nallowed_hosts = ["@@"]\nallowed_origins = ["http://@@"]\n[log]\nlevel = "@@"\nformat = "@@"\n',
                 minimal + '[audit]\nfile = "@@\n"@@" = 1\n[@@]\n', minimal + '[admin]\naddress = "localhost:8080"\ntoken_file = "/bad"\n'])
write("request", requests())
