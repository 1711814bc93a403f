"""The files of `examples/serving`: they are read, fit together, and name metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "examples" / "serving"
#: Metrics of TF Serving that are histograms, which Prometheus has three series of, and
#: one that counts: as its sources name them, ":" in place of "/".
HISTOGRAMS = {
    ":tensorflow:serving:request_latency",
    ":tensorflow:serving:runtime_latency",
    ":tensorflow:serving:batching_session:queuing_latency",
}
COUNTERS = {":tensorflow:serving:request_count"}
#: Fields of TF Serving's `BatchingParameters`.
BATCHING = {
    "max_batch_size",
    "batch_timeout_micros",
    "num_batch_threads",
    "max_enqueued_batches",
}


def read(name):
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


def test_every_file_that_is_mounted_is_there_and_used():
    services = read("docker-compose.yaml")["services"]
    mounted = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service["volumes"]
        if volume.startswith("./")
    }
    names = {path.removeprefix("./") for path in mounted}
    assert all((FOLDER / name).exists() for name in names)
    there = {path.name for path in FOLDER.iterdir()} - {"docker-compose.yaml"}
    assert names == there


def test_each_part_asks_another_at_the_port_it_has():
    services = read("docker-compose.yaml")["services"]
    (job,) = read("prometheus.yaml")["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert f"{port}:{port}" in services[host]["ports"]
    text = (FOLDER / "monitoring.config").read_text("utf-8")
    assert f'path: "{job["metrics_path"]}"' in text
    url = read("datasource.yaml")["datasources"][0]["url"]
    host, port = url.removeprefix("http://").split(":")
    assert f"{port}:{port}" in services[host]["ports"]


def test_the_dashboard_asks_for_metrics_that_there_are():
    board = json.loads((FOLDER / "dashboards" / "serving.json").read_text("utf-8"))
    queries = [
        target["expr"] for panel in board["panels"] for target in panel["targets"]
    ]
    found = {
        name for query in queries for name in re.findall(r":tensorflow[:\w]+", query)
    }
    assert found == COUNTERS | {f"{name}_bucket" for name in HISTOGRAMS}
    uids = {panel["datasource"]["uid"] for panel in board["panels"]}
    assert uids == {read("datasource.yaml")["datasources"][0]["uid"]}


@pytest.mark.parametrize("name", ["batching.config", "monitoring.config"])
def test_the_text_of_messages_is_balanced(name):
    text = (FOLDER / name).read_text("utf-8")
    assert text.count("{") == text.count("}") > 0
    if name == "batching.config":
        fields = re.findall(r"^(\w+) \{ value: \d+ \}$", text, re.MULTILINE)
        assert set(fields) == BATCHING
