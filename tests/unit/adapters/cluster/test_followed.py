"""What a node remembers of a session that it follows."""

from syncbridge.adapters.cluster.mesh.followed import Followed
from syncbridge.adapters.cluster.mesh.presence import Presence
from syncbridge.core.ids import SessionId


def test_an_outage_counts_as_no_more_than_the_longest_time_between_two_looks() -> None:
    followed = Followed(SessionId("s"), Presence())
    assert followed.looked_after_s(1_000, longest_s=20) == 0
    assert followed.looked_after_s(1_010, longest_s=20) == 10
    assert followed.looked_after_s(5_000, longest_s=20) == 20
