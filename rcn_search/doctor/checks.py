"""All checks, in the order in which a search would come upon them."""

from __future__ import annotations

from collections.abc import Iterator

from rcn_search import storage
from rcn_search.doctor.check_result import Finding, ok
from rcn_search.doctor.cluster_checks import cluster_of, examine_cluster
from rcn_search.doctor.gpu_checks import examine_gpus
from rcn_search.doctor.machine_checks import examine_machine
from rcn_search.doctor.package_checks import examine_packages
from rcn_search.doctor.storage_checks import examine_places


def examine(*, data: str = "", study: str = "", address: str = "") -> Iterator[Finding]:
    """Look at everything.

    Args:
        data: Data set; not looked at if empty.
        study: Folder that is to hold a study, or does; not looked at if empty.
        address: Of the Ray cluster; by default that of RAY_ADDRESS, and none where that is not set either.
    """
    yield from examine_packages()
    yield from examine_machine()
    yield examine_gpus()
    yield from examine_places(data, study)
    cluster = cluster_of(address)
    if cluster:
        # That another machine can write a local folder says nothing: it may be another one.
        yield from examine_cluster(cluster, data and storage.absolute(data), "" if storage.is_local(study) else study)
    else:
        yield ok("cluster", "none named by --address or RAY_ADDRESS: a search starts Ray on this machine for itself")
