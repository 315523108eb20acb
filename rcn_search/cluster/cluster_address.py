"""Address of a Ray cluster: whether a cluster answers there, for which Ray itself would wait for ten minutes."""

from __future__ import annotations

from rcn_search.cluster._ray_private import cluster_address, is_answering
from rcn_search.errors import RcnSearchError

ANSWER_TIMEOUT_S = 15.0
"""A head that is being restarted may need some of it."""


class ClusterError(RcnSearchError):
    """A Ray cluster cannot be reached, or not be started."""


def require_cluster(address: str) -> None:
    """Wait until a cluster answers at the address in RAY_ADDRESS; signals interrupt the wait.

    Raises:
        ClusterError: It is no address of a cluster, or nothing answers in `ANSWER_TIMEOUT_S`.
    """
    if address.startswith(("http://", "https://")):
        raise ClusterError(
            f"RAY_ADDRESS={address} is the address of a job server: set it as RAY_API_SERVER_ADDRESS, for ray job; the "
            "address of the cluster is HOST:6379, as printed by ray start --head"
        )
    try:
        found = cluster_address(address)
        answers = is_answering(found, ANSWER_TIMEOUT_S)
    except (ConnectionError, ValueError, OSError) as error:
        raise ClusterError(f"RAY_ADDRESS={address}: {error}") from error
    if not answers:
        at = address if found == address else f"{address}, which is {found}"
        raise ClusterError(
            f"no Ray cluster answers at RAY_ADDRESS={at}, within {ANSWER_TIMEOUT_S:.0f} s: check that its head runs "
            "and that no firewall blocks its port, or unset RAY_ADDRESS to run on this machine alone"
        )
