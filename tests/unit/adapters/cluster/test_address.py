import pytest

from syncbridge.adapters.cluster.link.address import Address, BadUrl, Place, place_of
from syncbridge.ports import Credentials


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://localhost", Place((Address("localhost", 6379),), Credentials(), False, False)),
        ("redis://127.0.0.1:7000/0", Place((Address("127.0.0.1", 7000),), Credentials(), False, False)),
        ("rediss://:s%40cret@[::1]:7000/", Place((Address("::1", 7000),), Credentials("", "s@cret"), False, True)),
        (
            "redis+cluster://app:p%3Aw@a:1,b:2,c",
            Place((Address("a", 1), Address("b", 2), Address("c", 6379)), Credentials("app", "p:w"), True, False),
        ),
        ("rediss+cluster://a:1", Place((Address("a", 1),), Credentials(), True, True)),
    ],
)
def test_a_url_says_where_redis_is(url: str, place: Place) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://localhost", "begins with one of redis://"),
        ("redis:localhost", "begins with one of redis://"),
        ("redis://", "no host and port"),
        ("redis://a:0", "no host and port"),
        ("redis://a:65536", "no host and port"),
        ("redis://a:port", "no host and port"),
        ("redis+cluster://a:1,,b:2", "no host and port"),
        ("redis://a:1,b:2", r"redis\+cluster://"),
        ("redis://a:1/1", "other databases do not exist"),
        ("redis://a:1?db=3", "ends after its port"),
        ("redis://a:1?password=canary", "password stands before the host"),
        ("redis://a:1/0?password=canary", "ends after its port"),
        ("redis+cluster://a:1,b:2#canary", "password stands before the host"),
    ],
)
def test_a_bad_url_is_told_and_never_with_its_password(url: str, told: str) -> None:
    with pytest.raises(BadUrl, match=told) as caught:
        place_of(url.replace("://", "://:canary@", 1))
    assert "canary" not in str(caught.value)


def test_an_address_reads_as_one() -> None:
    assert (str(Address("a", 1)), str(Address("::1", 1))) == ("a:1", "[::1]:1")
