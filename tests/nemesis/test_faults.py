"""Whatever befalls a server while five devices are at work over two nodes, their sessions come to no harm.

Each round ends with the same questions: does one order of the log explain every answer; is everything there that was
acknowledged, each once; is every value that was overwritten unseen in a list; was every device told every version; do
devices, nodes and Redis hold the same within 5 s. Where no node was hit: did sockets stay open, was everybody answered
within 2.5 s, could it be written again within 5. At length: `make nemesis`.
"""

from __future__ import annotations

import pytest

from tests.nemesis.faults import FAULTS, Fault
from tests.nemesis.rounds import run_round
from tests.nemesis.stage import Stage

pytestmark = pytest.mark.serial

QUICK = [fault for fault in FAULTS if not fault.is_for_long_runs]


@pytest.mark.parametrize("fault", QUICK, ids=str)
async def test_a_fault_harms_no_session(stage: Stage, fault: Fault) -> None:
    report = await run_round(stage, fault, seed=FAULTS.index(fault), begin_s=0.5, after_s=0.4)
    print(report)
    assert report.faults == []
    assert report.verdict.acked > 50
