"""How fast a data set on an object store is ready, beside a plain parallel download of the same objects.

OpenStack Swift is started on this machine (tests/s3/swift_server.py) and gets a copy of the data set. Each round times
a plain download with boto3 (whole objects, eight at once, kept in memory) and a cold start (empty cache: fetched,
written, verified, opened), in turns, then a warm one. At the end four processes share an empty cache; their requests
are counted at the server. The ratio is the median of the rounds' ratios.

    python benchmarks/data_cache.py /tmp/mtfl [--rounds 3]

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3

from rcn_search import storage
from rcn_search.data.cache import shard_cache_folder
from rcn_search.data.dataset import Dataset

SERVER = Path(__file__).parent.parent / "tests" / "s3" / "swift_server.py"
BUCKET, FOLDER = "bench", "data"
URI = f"s3://{BUCKET}/{FOLDER}"
NUM_PROCESSES, NUM_CONNECTIONS = 4, 8


def start() -> float:
    """Seconds until every split of the data set is open."""
    began = time.perf_counter()
    dataset = Dataset(URI)
    for name in dataset.manifest.splits:
        dataset.split(name)
    return time.perf_counter() - began


def plain(keys: list[str]) -> float:
    """Seconds of a download of the same objects into memory."""
    client = boto3.Session().client("s3")
    began = time.perf_counter()
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        list(pool.map(lambda key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read(), keys))
    return time.perf_counter() - began


def main() -> None:
    if sys.argv[1:] == ["--start"]:
        print(start())
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="data-cache-") as folder:
        place = Path(folder) / "swift"
        place.mkdir()
        line = [sys.executable, "-W", "ignore", str(SERVER), str(place)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
            try:
                measure(options, Path(folder), place / "requests.log", int(server.stdout.readline()))
            finally:
                server.terminate()


def measure(options: argparse.Namespace, folder: Path, log: Path, port: int) -> None:
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "lab:robot",
        "AWS_SECRET_ACCESS_KEY": "swift-s3cret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RCN_SEARCH_CACHE": str(folder / "cache"),
    }
    boto3.Session().client("s3").create_bucket(Bucket=BUCKET)
    shards = sorted((options.data / "shards").glob("*.arrow"))
    for file in (*shards, options.data / "manifest.json"):
        storage.write_bytes(storage.join(URI, str(file.relative_to(options.data))), file.read_bytes())
    keys = [f"{FOLDER}/shards/{file.name}" for file in shards]
    num_bytes = sum(file.stat().st_size for file in shards)
    load = os.getloadavg()[0]
    plain_s, cold_s, warm_s = [], [], []
    for _ in range(options.rounds):
        plain_s.append(plain(keys))
        shutil.rmtree(shard_cache_folder(), ignore_errors=True)
        cold_s.append(start())
        warm_s.append(start())
        print(f"plain {plain_s[-1]:.2f} s, cold {cold_s[-1]:.2f} s, warm {warm_s[-1]:.2f} s", flush=True)

    shutil.rmtree(shard_cache_folder(), ignore_errors=True)
    before = len(log.read_text().splitlines())
    line = [sys.executable, __file__, "--start"]
    readers = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(NUM_PROCESSES)]
    together_s = [float(reader.communicate()[0]) for reader in readers]
    gets = Counter(
        each for each in log.read_text().splitlines()[before:] if each.startswith("GET ") and ".arrow" in each
    )
    plain_median_s = statistics.median(plain_s)
    result = {
        "bytes": num_bytes,
        "objects": len(shards),
        "load_before": load,
        "plain_s": plain_median_s,
        "cold_s": statistics.median(cold_s),
        "warm_s": statistics.median(warm_s),
        "plain_mb_per_s": num_bytes / plain_median_s / 1e6,
        "cold_mb_per_s": num_bytes / statistics.median(cold_s) / 1e6,
        "cold_over_plain": statistics.median(one / other for one, other in zip(plain_s, cold_s, strict=True)),
        "processes": NUM_PROCESSES,
        "processes_s": max(together_s),
        "ranges": len(gets),
        "ranges_fetched_more_than_once": sum(count > 1 for count in gets.values()),
        "objects_fetched": len({each.split()[1] for each in gets}),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
