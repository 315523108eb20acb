"""What a RayCluster may grow to, asked for as a head's pod asks: of an API server, by HTTPS, with Ray's own client."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FILE = Path(__file__).parents[2] / "cluster" / "kuberay-cluster.yaml"
# In a process of its own, as Ray's client reads its environment once. The namespace is where a pod has it.
ASK = """
import json, os, sys
from pathlib import Path
from rcn_search.cluster import autoscaler as growth
growth._NAMESPACE = Path(sys.argv[1])
answers = []
for name in sys.argv[2:]:
    os.environ["RAY_CLUSTER_NAME"] = name
    config = growth._of_kubernetes()
    answers.append(config and str(growth._of_config(config, {"CPU": 0.0})))
print(json.dumps(answers))
"""


def certificate(folder: Path) -> tuple[str, str]:
    """Of 127.0.0.1, signed by itself; and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes.default")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(*encoding))
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def api_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """It has a cluster that grows, and one that does not; the environment of a pod."""
    cert, key = certificate(tmp_path)
    (tmp_path / "namespace").write_text("faces")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            *place, name = self.path.split("/")
            cluster = yaml.safe_load(FILE.read_text())
            cluster["metadata"] = {"name": name, "namespace": "faces"}
            cluster["spec"]["enableInTreeAutoscaling"] = name == "grows"
            allowed = "/".join(place) == "/apis/ray.io/v1/namespaces/faces/rayclusters" and name != "secret"
            self.send_response(200 if allowed else 403)
            self.end_headers()
            self.wfile.write(json.dumps(cluster if allowed else {}).encode())

        def log_message(self, *arguments: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT_HTTPS": str(server.server_port),
        "NO_PROXY": "127.0.0.1",
        "RAY_KUBERAY_CA_CERT_PATH": cert,
        "RAY_KUBERAY_CLIENT_CERT_PATH": cert,
        "RAY_KUBERAY_CLIENT_KEY_PATH": key,
    }
    server.shutdown()
    server.server_close()


def test_a_head_asks_what_its_cluster_may_grow_to(api_server, tmp_path):
    line = [sys.executable, "-c", ASK, str(tmp_path / "namespace"), "grows", "fixed", "secret"]
    asked = subprocess.run(line, capture_output=True, text=True, timeout=120, env={**os.environ, **api_server})
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == ["8 × 8 CPU, 1 GPU", None, None]
