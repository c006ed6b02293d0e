"""What a configuration means for the ports."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from syncbridge.adapters.embedded.directory import CannotOpen
from syncbridge.backends import Post, node_name_of, open_backends
from syncbridge.config import Settings
from syncbridge.runtime.clock import ServerClock
from syncbridge.telemetry import PrometheusTelemetry


def test_a_nodes_name_is_the_configured_one_else_one_of_its_own() -> None:
    assert node_name_of(Settings(node_name="blue-1")) == "blue-1"
    made = {node_name_of(Settings()) for _ in range(100)}
    assert len(made) == 100
    for name in made:
        assert Settings(node_name=name).node_name == name, "a made name is one that could be configured"


def test_a_hosts_name_that_is_no_nodes_is_made_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "büro/" + 300 * "x")
    name = node_name_of(Settings())
    assert Settings(node_name=name).node_name == name
    assert name.startswith("b-ro-x")


@pytest.mark.parametrize(
    "named",
    [
        {"redis_url": "rediss://127.0.0.1:1", "redis_ca_file": "/dev/null"},
        {"amqp_url": "amqps://127.0.0.1:1", "amqp_ca_file": "/dev/null"},
    ],
    ids=["redis", "rabbitmq"],
)
async def test_a_start_says_which_file_names_no_authority(tmp_path: Path, named: dict[str, str]) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path / "data", **named})
    (key,) = (name for name in named if name.endswith("_ca_file"))
    clock = ServerClock()
    async with AsyncExitStack() as stack:
        with pytest.raises(CannotOpen, match=rf"^{key}: /dev/null holds no certificate in PEM$"):
            await open_backends(settings, stack, clock=clock, telemetry=PrometheusTelemetry(clock))


async def test_what_follows_an_answer_is_done_also_where_the_answer_fails() -> None:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    failures: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _loop, failure: failures.append(failure))
    order: list[str] = []

    def answer() -> None:
        order.append("answer")
        loop.call_soon(done.set)
        raise ZeroDivisionError

    post = Post(loop)
    post.then = lambda: order.append("then")
    await asyncio.to_thread(post, answer)
    await done.wait()
    assert order == ["answer", "then"]
    assert [type(failure["exception"]) for failure in failures] == [ZeroDivisionError]
