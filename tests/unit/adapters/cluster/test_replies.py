import pytest

from syncbridge.adapters.cluster.link.replies import Verdict, judge, redirection


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("MOVED 3999 127.0.0.1:6381", Verdict.MOVED),
        ("ASK 3999 127.0.0.1:6381", Verdict.ASK),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Verdict.LATER),
        ("NOSCRIPT No matching script.", Verdict.SCRIPT),
        ("LOADING Redis is loading the dataset in memory", Verdict.LATER),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", Verdict.LATER),
        ("READONLY You can't write against a read only replica. script: 0123, on @user_script:1.", Verdict.LOOK),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", Verdict.LOOK),
        ("CLUSTERDOWN Hash slot not served", Verdict.LOOK),
        ("NOAUTH Authentication required.", Verdict.LOGIN),
        ("NOREPLICAS Not enough good replicas to write.", Verdict.AWAY),
        ("OOM command not allowed when used memory > 'maxmemory'.", Verdict.REFUSED),
        ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.", Verdict.REFUSED),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", Verdict.REFUSED),
        ("NOPERM this user has no permissions to run the 'evalsha' command", Verdict.REFUSED),
        ("CROSSSLOT Keys in request don't hash to the same slot", Verdict.REFUSED),
        ("ERR unknown command", Verdict.REFUSED),
        ("MOVEDX 1 h:1", Verdict.REFUSED),
        ("", Verdict.REFUSED),
    ],
)
def test_the_first_word_of_an_error_says_what_to_do(text: str, verdict: Verdict) -> None:
    assert judge(text) is verdict


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("MOVED 3999 127.0.0.1:6381", (3999, "127.0.0.1", 6381)),
        ("ASK 0 redis-1.example.org:6379", (0, "redis-1.example.org", 6379)),
        ("MOVED 1 ::1:6381", (1, "::1", 6381)),
        ("MOVED 1 [::1]:6381", (1, "::1", 6381)),
        ("MOVED 12 :6381", (12, "", 6381)),
        ("MOVED", None),
        ("MOVED x 127.0.0.1:1", None),
        ("MOVED 1 127.0.0.1", None),
        ("MOVED 1 127.0.0.1:port", None),
        ("MOVED 1 127.0.0.1:1 more", None),
    ],
)
def test_a_redirection_names_a_server_or_is_not_believed(text: str, told: tuple[int, str, int] | None) -> None:
    assert redirection(text) == told
