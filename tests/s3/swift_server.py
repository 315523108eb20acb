"""OpenStack Swift with its S3 API, in one process: ``python swift_server.py FOLDER [PORT]``.

Proxy, account, container and object server each listen at a port of their own and speak HTTP to each other, as they do
on machines of their own; one copy of everything, files under FOLDER. Prints the port of the proxy once it answers, and
keeps a line for each of its requests in FOLDER/requests.log.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eventlet
import eventlet.patcher
import eventlet.wsgi

eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)

from swift.common import utils  # noqa: E402

ACCESS_KEY, SECRET_KEY = "lab:robot", "swift-s3cret"
POLICY = """
[swift-hash]
swift_hash_path_suffix = suffix
swift_hash_path_prefix = prefix
[storage-policy:0]
name = only
default = yes
"""
STORE = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}/disks
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """
[DEFAULT]
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck listing_formats bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
"""


def logged(app: Callable[..., Any], place: Path) -> Callable[..., Any]:
    """The application, with a line for each request: method, path, range."""
    log = place.open("a", buffering=1)

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        log.write(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ.get('HTTP_RANGE', '-')}\n")
        return app(environ, start_response)

    return answer


def main(folder: Path, proxy_port: int = 0) -> None:
    policy = folder / "swift.conf"
    policy.write_text(POLICY)
    utils.SWIFT_CONF_FILE = str(policy)
    utils.validate_hash_conf()
    from swift.common import storage_policy
    from swift.common.http_protocol import SwiftHttpProtocol
    from swift.common.ring import RingBuilder
    from swift.common.utils import NullLogger
    from swift.common.wsgi import loadapp

    storage_policy.reload_storage_policies()
    (folder / "disks" / "disk").mkdir(parents=True, exist_ok=True)  # there already where a server was killed
    sockets = {}
    for kind in ("account", "container", "object", "proxy"):
        sockets[kind] = eventlet.listen(("127.0.0.1", proxy_port if kind == "proxy" else 0))
        sockets[kind].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = sockets[kind].getsockname()[1]
        if kind == "proxy":
            text = PROXY.format(folder=folder, user=ACCESS_KEY.replace(":", "_"), secret=SECRET_KEY)
        else:
            ring = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
            ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "disk", "weight": 1.0})
            ring.rebalance()
            ring.get_ring().save(str(folder / f"{kind}.ring.gz"))
            text = STORE.format(folder=folder, kind=kind)
        (folder / f"{kind}.conf").write_text(text)
    servers = []
    for kind, listening in sockets.items():
        app = loadapp(str(folder / f"{kind}.conf"), global_conf={"log_name": kind})
        server = eventlet.spawn(
            eventlet.wsgi.server,
            listening,
            logged(app, folder / "requests.log") if kind == "proxy" else app,
            NullLogger(),
            protocol=SwiftHttpProtocol,
            capitalize_response_headers=False,  # S3 clients look for ETag, not for Etag
        )
        servers.append(server)
    print(sockets["proxy"].getsockname()[1], flush=True)
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
