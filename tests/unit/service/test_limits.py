"""How much may be under way."""

import pytest

from modeltest.service.limits import Admission
from modeltest.service.refusals import Refusal


def test_no_more_requests_than_the_limit_are_let_in():
    admission = Admission(2)
    first, second = admission.enter(), admission.enter()
    with pytest.raises(Refusal) as caught:
        admission.enter()
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "1"}
    first.leave()
    first.leave()  # counts once
    assert admission.num_requests == 1
    admission.enter()
    second.leave()
    assert admission.num_requests == 1


def test_memory_is_given_back_whole():
    admission = Admission(9, max_bytes=100)
    first, second = admission.enter(), admission.enter()
    first.hold(60)
    second.hold(30)
    with pytest.raises(Refusal, match="memory"):
        second.hold(11)
    first.release(50)
    second.hold(11)
    assert admission.num_bytes == 51
    first.leave()
    second.leave()
    assert admission.num_bytes == 0
