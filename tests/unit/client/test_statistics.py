"""What servers have counted, as each protocol writes it."""

from trident_client import AsyncFakeTransport, AsyncTridentClient, FakeTransport, ModelStatistics, TridentClient

HTTP = [
    {
        "name": "sts",
        "version": "1",
        "inference_count": 128,
        "execution_count": 2,
        "inference_stats": {
            "success": {"count": 3, "ns": 4_000_000_000},
            "fail": {"count": 1, "ns": 5},
            "queue": {"count": 3, "ns": 500_000_000},
            "compute_input": {"count": 3, "ns": 1_000_000},
            "compute_infer": {"count": 3, "ns": 2_000_000_000},
            "compute_output": {"count": 3, "ns": 0},
        },
    }
]
# gRPC gives 64-bit numbers as text and leaves out what is 0.
GRPC = [
    {
        "name": "sts",
        "version": "1",
        "inference_count": "128",
        "execution_count": "2",
        "inference_stats": {
            "success": {"count": "3", "ns": "4000000000"},
            "fail": {"count": "1", "ns": "5"},
            "queue": {"count": "3", "ns": "500000000"},
            "compute_input": {"count": "3", "ns": "1000000"},
            "compute_infer": {"count": "3", "ns": "2000000000"},
            "compute_output": {},
        },
    },
    {"name": "idle", "version": "1"},
]


def expected(server: str) -> ModelStatistics:
    return ModelStatistics(server, "sts", "1", 128, 2, 3, 1, 4.0, 0.5, 0.001, 2.0, 0.0)


async def test_each_servers_counts_are_read_from_either_protocol():
    servers = {"b:2": FakeTransport(dict, statistics=GRPC), "a:1": FakeTransport(dict, statistics=HTTP)}
    idle = ModelStatistics("b:2", "idle", "1", 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    with TridentClient(transport=servers) as client:
        assert client.statistics() == [expected("a:1"), idle, expected("b:2")]
    async with AsyncTridentClient(transport=AsyncFakeTransport(dict, statistics=HTTP)) as client:
        assert await client.statistics() == [expected("transport")]
