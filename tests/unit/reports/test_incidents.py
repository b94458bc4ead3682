"""What a run met with and survived stands among the reasons, and leaves it VALID."""

from dataclasses import replace

from modeltest.reports.summary import summarise


def test_incidents_are_told_with_their_reasons(run):
    before = summarise(run).verdict
    met = replace(
        run,
        redealt=({"reason": "process ended by signal 9"}, {"reason": "process ended by signal 9"}),
        given_up=({"reason": "npu:1 does not answer any more"},),
        splits=({"reason": "out of memory"}, {"reason": "another"}),
    )
    after = summarise(met).verdict
    assert after.validity == before.validity
    new = [reason for reason in after.reasons if reason not in before.reasons]
    assert new == [
        "1 workers gave up (npu:1 does not answer any more)",
        "2 batches were dealt again (process ended by signal 9)",
        "2 batches were split (another, out of memory)",
    ]
