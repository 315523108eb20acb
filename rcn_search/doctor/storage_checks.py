"""Checks of the locations of data and studies: whether they can be read and written, and whether the clocks agree."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from rcn_search.data.shards import read_manifest
from rcn_search.doctor.check_result import CheckResult, ok, problem, warning
from rcn_search.errors import RcnSearchError
from rcn_search.storage.preflight import preflight

HTTP_TIMEOUT_S = 10
OBJECT_STORES = ("s3://", "s3a://")
WARN_SKEW_S, MAX_SKEW_S = 5.0, 60.0
"""A lease on a study expires after 60 s without a heartbeat, by the clock of whoever waits for it; object stores refuse
requests that are signed 15 minutes off."""


def check_storage(data: str, study: str) -> Iterator[CheckResult]:
    """Check the locations of a data set and of a study; an empty one is skipped."""
    if data:
        yield check_dataset(data)
    if study:
        yield check_study_uri(study)
    if any(uri.startswith(OBJECT_STORES) for uri in (data, study)):
        yield check_store_clock(store_endpoint())


def check_dataset(uri: str) -> CheckResult:
    """Check that a data set exists. Its shards are verified when they are opened."""
    try:
        manifest = read_manifest(uri)
    except (OSError, RcnSearchError) as error:
        return problem("data", str(error), "import it there (rcn-search data import), or correct the access to it")
    return ok("data", f"{', '.join(f'{name} {manifest.num_rows(name):,}' for name in manifest.split_names)} at {uri}")


def check_study_uri(uri: str) -> CheckResult:
    """Check that a study can be kept at a URI: write, read, put if absent, list and delete."""
    try:
        preflight(uri)
    except (OSError, RcnSearchError) as error:
        return problem("study", str(error), "correct the access to it, or choose another location with --study")
    return ok("study", f"write, read, put if absent and delete work at {uri}")


def store_endpoint() -> str:
    """URL of the object store that the AWS variables and profile name."""
    import botocore.session

    return str(botocore.session.get_session().create_client("s3", region_name="us-east-1").meta.endpoint_url)


def check_store_clock(url: str) -> CheckResult:
    """Check that this machine's clock agrees with that of the object store."""
    before = time.time()
    try:
        with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT_S) as answer:
            date = answer.headers.get("Date")
    except urllib.error.HTTPError as error:  # refuses anonymous requests, but sends its time
        date = error.headers.get("Date")
    except (OSError, ValueError) as error:
        return problem("clock", f"{url} does not answer: {error}", "check AWS_ENDPOINT_URL and the network")
    after = time.time()
    if not date:
        return warning("clock", f"{url} does not send its time", "make sure that NTP keeps all clocks")
    # The header has whole seconds, and was written at some time between the request and its answer.
    store_s = parsedate_to_datetime(date).timestamp()
    return check_clock_skew("clock", max(before - store_s - 1, store_s - after, 0.0), f"that of {url}")


def check_clock_skew(topic: str, skew_s: float, other: str) -> CheckResult:
    """Judge the difference, of which a lower bound is given, between this machine's clock and another one."""
    remedy = "let NTP (chrony, systemd-timesyncd) keep the clock"
    if skew_s > MAX_SKEW_S:
        return problem(topic, f"{skew_s:.0f} s off {other}", f"{remedy}: the lease of a live search would look expired")
    if skew_s > WARN_SKEW_S:
        return warning(topic, f"{skew_s:.0f} s off {other}", remedy)
    return ok(topic, f"agrees with {other}")
