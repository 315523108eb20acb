"""All checks, in the order in which a search would run into what they find."""

from __future__ import annotations

import os
from collections.abc import Iterator

from rcn_search import storage
from rcn_search.doctor.check_result import CheckResult, ok
from rcn_search.doctor.cluster_checks import check_cluster
from rcn_search.doctor.gpu_checks import check_gpus
from rcn_search.doctor.machine_checks import check_machine
from rcn_search.doctor.package_checks import check_packages
from rcn_search.doctor.storage_checks import check_storage


def run_checks(*, data: str = "", study: str = "", address: str = "") -> Iterator[CheckResult]:
    """Run all checks and yield each result as soon as it is known.

    An empty ``data`` or ``study`` is skipped; the study need not exist. An empty ``address`` is that of RAY_ADDRESS.
    """
    yield from check_packages()
    yield from check_machine()
    yield check_gpus()
    yield from check_storage(data, study)
    if cluster := address or os.environ.get("RAY_ADDRESS"):
        # A local folder that another node can write proves nothing: it may be a folder of that node alone.
        yield from check_cluster(cluster, data and storage.absolute(data), "" if storage.is_local(study) else study)
    else:
        yield ok("cluster", "no --address and no RAY_ADDRESS: a search starts Ray on this machine for itself")
