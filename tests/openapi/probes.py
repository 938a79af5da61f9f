"""Answers that no generator brings about, because they need a foreign host, a foreign page or very much: asked for one by one
and compared with the documents in the same way."""

import sys

import schemathesis
from schemathesis.core.failures import FailureGroup

CERTIFICATE = "/otk-service/v1/certificates/{journeyToken}"
ACTIVE = {"journeyToken": "00000000-0000-4000-8000-000000000001"}
EVIL = {"Origin": "https://evil.example"}
FOREIGN = {"Host": "evil.example"}
MUCH = b"x" * (65 * 1024)

DATA = [
    (403, "GET", CERTIFICATE, {"path_parameters": ACTIVE, "headers": EVIL}),
    (403, "GET", f"{CERTIFICATE}/image", {"path_parameters": ACTIVE, "headers": {"Sec-Fetch-Site": "cross-site"}}),
    (403, "POST", "/otk-service/v2/create-journey", {"headers": EVIL}),
    (421, "GET", CERTIFICATE, {"path_parameters": ACTIVE, "headers": FOREIGN}),
    (421, "GET", "/otk-service/v1/residents/stale", {"headers": FOREIGN}),
    (400, "GET", CERTIFICATE, {"path_parameters": ACTIVE, "query": {"x": "1"}}),
    (413, "GET", CERTIFICATE, {"path_parameters": ACTIVE, "data": MUCH}),
    (413, "POST", "/otk-service/v2/create-journey", {"data": b"x" * ((1 << 20) + 1)}),
    (431, "GET", f"{CERTIFICATE}/image", {"path_parameters": ACTIVE, "headers": {"x": "x" * (65 * 1024)}}),
]
ADMIN = [
    (403, "POST", "/purge", {"headers": EVIL}),
    (403, "GET", "/status", {"headers": EVIL}),
    (403, "GET", "/", {"headers": {"Sec-Fetch-Site": "cross-site"}}),
    (421, "GET", "/", {"headers": FOREIGN}),
    (421, "POST", "/reload", {"headers": FOREIGN}),
    (200, "GET", "/metrics", {"headers": FOREIGN}),
    (413, "POST", "/purge", {"data": MUCH}),
    (400, "GET", "/expiring", {"query": {"until": "30d"}}),
]


def probe(document, url, probes):
    failures = 0
    schema = schemathesis.openapi.from_path(document)
    for status, method, path, asked in probes:
        data = asked.pop("data", None)
        case = schema[path][method].Case(**asked)
        try:
            response = case.call(base_url=url, **({"data": data} if data else {}))
            assert response.status_code == status, f"{response.status_code} instead of {status}"
            case.validate_response(response)
        except (Exception, FailureGroup) as error:  # whatever it is, it is told, and the others are asked too
            failures += 1
            print(f"{method} {path} {status}: {error}", file=sys.stderr)
    print(f"{len(probes) - failures} of {len(probes)} as documented in {document}")
    return failures


if __name__ == "__main__":
    data, admin = sys.argv[1:]
    failed = probe("deploy/openapi.yaml", data, DATA) + probe("deploy/openapi-admin.yaml", admin, ADMIN)
    sys.exit(bool(failed))
