"""Where data and studies are: whether they can be read and written, and whether the clocks agree."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from rcn_search import storage
from rcn_search.data.shards import read_manifest
from rcn_search.doctor.check_result import Finding, ok, problem, warning

ANSWERS_WITHIN_S = 10
OBJECT_STORES = ("s3://", "s3a://")
WARN_SKEW_S, MAX_SKEW_S = 5.0, 60.0
"""A driver on another machine counts as dead when it is silent for the second; object stores refuse requests that are
signed a quarter of an hour off."""


def examine_places(data: str, study: str) -> Iterator[Finding]:
    """All that is to be said of the places that are named; an empty one is not looked at."""
    if data:
        yield check_data(data)
    if study:
        yield check_study(study)
    if any(uri.startswith(OBJECT_STORES) for uri in (data, study)):
        yield check_store_clock(store_endpoint())


def check_data(uri: str) -> Finding:
    """Whether there is a data set. Of its shards, each is verified when it is opened."""
    try:
        manifest = read_manifest(uri)
    except (OSError, ValueError) as error:
        return problem("data", str(error), "import it there (rcn-search data import), or mend the access")
    return ok("data", f"{', '.join(f'{name} {manifest.num_rows(name):,}' for name in manifest.split_names)} at {uri}")


def check_study(uri: str) -> Finding:
    """Whether a study could be kept there: written, read, put if absent, listed and deleted."""
    try:
        storage.preflight(uri)
    except (OSError, ValueError) as error:
        return problem("study", str(error), "mend the access, or name another place with --study")
    return ok("study", f"written, read, put if absent and deleted at {uri}")


def store_endpoint() -> str:
    """URL of the object store that the AWS variables and profile name."""
    import botocore.session

    return str(botocore.session.get_session().create_client("s3", region_name="us-east-1").meta.endpoint_url)


def check_store_clock(url: str) -> Finding:
    """Whether this machine's clock agrees with that of the object store."""
    asked = time.time()
    try:
        with urllib.request.urlopen(url, timeout=ANSWERS_WITHIN_S) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:  # it will not talk to strangers, and says when
        date = error.headers.get("Date")
    except (OSError, ValueError) as error:
        return problem("clock", f"{url} does not answer: {error}", "look at AWS_ENDPOINT_URL and the network")
    answered = time.time()
    if not date:
        return warning("clock", f"{url} does not say what time it is", "make sure that clocks are kept by NTP")
    # Its seconds are whole ones, and were told some time between the question and the answer.
    theirs = parsedate_to_datetime(date).timestamp()
    return judge_skew("clock", max(asked - theirs - 1, theirs - answered, 0.0), f"that of {url}")


def judge_skew(topic: str, skew_s: float, other: str) -> Finding:
    """What it means that two clocks differ by at least so much."""
    remedy = "let NTP (chrony, systemd-timesyncd) keep the clock"
    if skew_s > MAX_SKEW_S:
        return problem(topic, f"{skew_s:.0f} s off {other}", f"{remedy}: a driver that works would be taken for dead")
    if skew_s > WARN_SKEW_S:
        return warning(topic, f"{skew_s:.0f} s off {other}", remedy)
    return ok(topic, f"agrees with {other}")
