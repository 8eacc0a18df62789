"""Real traffic through both doors, for each forwarding method."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise

import pytest

from netns.clusters import door_counters, upload, wait_for, weights
from onevip.lab import Cluster
from onevip.lab.cluster import FALLBACK_PAGE, PAGES, VIP

TEN_MEGABYTES = 10_000_000


def test_the_door_is_the_one_that_was_asked_for(cluster: Cluster) -> None:
    lines = cluster.onevip("director", "attach", "--show").splitlines()
    eth0 = next(line for line in lines if line.startswith("eth0"))
    assert eth0.split()[1] == {"tc": "tc", "xdp": "xdp,tc"}[cluster.door]


def test_requests_alternate_between_the_real_servers(cluster: Cluster) -> None:
    pages = [cluster.get() for _ in range(6)]
    assert set(pages) == set(PAGES.values())
    assert all(page != following for page, following in pairwise(pages))


def test_a_kept_alive_connection_stays_at_its_real_server(cluster: Cluster) -> None:
    url = f"http://{VIP}/"
    pages = cluster.get(url, url, url, url).splitlines()
    assert len(pages) == 4
    assert len(set(pages)) == 1


def test_a_download_of_ten_megabytes_arrives_whole(cluster: Cluster) -> None:
    content = os.urandom(TEN_MEGABYTES)
    for server in ("rs1", "rs2"):
        (cluster.web_servers[server].directory / "pages" / "big").write_bytes(content)
    fetch = f"curl -sSf --noproxy '*' --max-time 20 http://{VIP}/big | sha256sum"
    digests = {cluster.client.run("sh", "-c", fetch).split()[0] for _ in range(2)}
    assert digests == {hashlib.sha256(content).hexdigest()}


@pytest.mark.usefixtures("uploads")
def test_an_upload_of_ten_megabytes_arrives_whole(cluster: Cluster) -> None:
    upload(cluster, TEN_MEGABYTES)
    upload(cluster, TEN_MEGABYTES)


def test_the_packets_of_ten_requests_pass_the_door_that_was_asked_for(cluster: Cluster) -> None:
    before = door_counters(cluster)[cluster.door]
    for _ in range(10):
        cluster.get()
    after = door_counters(cluster)[cluster.door]
    assert after["new connections"] - before.get("new connections", 0) == 10
    # SYN, ACK, request, FIN at least
    assert after[cluster.method] - before.get(cluster.method, 0) >= 40


@pytest.mark.usefixtures("uploads")
def test_an_upload_by_a_client_without_segmentation_offload_arrives_whole(
    cluster: Cluster,
) -> None:
    # veth hides segments that are too long as long as offloads are on.
    cluster.client.run("ethtool", "-K", "eth0", "tso", "off", "gso", "off")
    try:
        upload(cluster, TEN_MEGABYTES)
        upload(cluster, TEN_MEGABYTES)
    finally:
        cluster.client.run("ethtool", "-K", "eth0", "tso", "on", "gso", "on")


def test_a_dead_real_server_gets_no_request_and_comes_back(cluster: Cluster) -> None:
    server = cluster.web_servers["rs1"]
    server.stop()
    wait_for(lambda: weights(cluster) == {"rs1": 0, "rs2": 2}, "weight 0", cluster)
    assert {cluster.get() for _ in range(10)} == {PAGES["rs2"]}
    server.start()
    server.wait_until_ready()
    wait_for(lambda: weights(cluster) == {"rs1": 2, "rs2": 2}, "weight 2", cluster)
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())


def test_with_no_real_server_left_the_director_answers(cluster: Cluster) -> None:
    for name in ("rs1", "rs2"):
        cluster.web_servers[name].stop()
    wait_for(lambda: "127.0.0.1:80" in cluster.rows(), "the fallback server", cluster)
    assert {cluster.get() for _ in range(3)} == {FALLBACK_PAGE}
    for name in ("rs1", "rs2"):
        cluster.web_servers[name].start()
    wait_for(lambda: "127.0.0.1:80" not in cluster.rows(), "no fallback server", cluster)
    wait_for(lambda: weights(cluster) == {"rs1": 2, "rs2": 2}, "weight 2", cluster)
    assert {cluster.get() for _ in range(4)} == set(PAGES.values())
