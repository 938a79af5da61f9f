"""Tells which answers a run has seen, and fails if one is missing that the demo can give."""

import json
import sys

CERTIFICATE = "/otk-service/v1/certificates/{journeyToken}"
WANTED = [
    *(f"{method} {CERTIFICATE} {status}" for method in ("GET", "HEAD") for status in (200, 304, 400, 404, 502)),
    *(f"{method} {CERTIFICATE}/image {status}" for method in ("GET", "HEAD") for status in (200, 304, 400, 404, 410, 502)),
    "GET /otk-service/v1/residents/stale 200",
    "POST /otk-service/create-journey-url 200",
    "POST /otk-service/v2/create-journey 200",
    "GET /otk-service/v2/journey-details/{journeyToken} 200",
    *(f"GET {path} 200" for path in ("/livez", "/readyz", "/metrics", "/", "/status", "/expiring")),
    f"GET {CERTIFICATE} 405",
    "GET /expiring 400",
    "POST /explain 200",
    "POST /explain 400",
    "POST /purge 200",
    "POST /purge 400",
    "POST /reload 422",
]

seen = {}
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        seen |= json.load(file)
print("== seen")
for answer, count in sorted(seen.items()):
    print(f"{count:6} {answer}")
missing = [answer for answer in WANTED if answer not in seen]
for answer in missing:
    print(f"not seen: {answer}", file=sys.stderr)
sys.exit(bool(missing))
