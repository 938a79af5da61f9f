"""What the documents cannot say, asked of every answer; and a count of what was seen, so that a run that saw nothing fails."""

import atexit
import collections
import json
import os

import schemathesis

SEEN = collections.Counter()


@schemathesis.check
def only_a_release_holds_an_image(ctx, response, case):
    """The bytes of an image, or anything like one in base64, stand in a released answer and nowhere else."""
    is_release = response.status_code == 200 and response.headers.get("otk-gateway-status") == ["ACTIVE"]
    assert is_release or b"\xff\xd8\xff" not in response.content, "the bytes of an image in no release"
    assert is_release or b"data:image" not in response.content.lower(), "an image in base64 in no release"


@schemathesis.check
def an_error_tells_nothing_of_the_request(ctx, response, case):
    """No error of the gateway's repeats the token it was asked for."""
    token = (case.path_parameters or {}).get("journeyToken")
    if "proxy-status" in response.headers and isinstance(token, str) and len(token) == 36:
        assert token.lower() not in response.content.decode("utf-8", "replace").lower(), "the token in an error"


@schemathesis.check
def head_is_get_without_the_body(ctx, response, case):
    """HEAD carries no body, whatever the length it tells."""
    if case.method == "HEAD":
        assert not response.content, "a body in the answer to HEAD"


@schemathesis.hook
def after_call(context, case, response):
    SEEN[f"{case.operation.method.upper()} {case.operation.path} {response.status_code}"] += 1


@atexit.register
def write():
    with open(os.environ["OPENAPI_SEEN"], "w", encoding="utf-8") as file:
        json.dump(SEEN, file, indent=1, sort_keys=True)
