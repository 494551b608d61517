import os
import signal

import pytest

from psp_jax.runtime.preemption import SIGNALS, Preemption


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)]
)
def test_a_signal_is_a_request_first_and_the_end_the_second_time(number, status, capsys):
    before = [signal.getsignal(each) for each in SIGNALS]
    with Preemption() as preemption:
        preemption.exit_if_requested("no request")
        os.kill(os.getpid(), number)
        preemption.poll()
        assert preemption.requested == number
        os.kill(os.getpid(), signal.SIGUSR1)
        preemption.poll()
        assert preemption.requested == number
        for ending in (signal.SIGTERM, signal.SIGINT):
            assert signal.getsignal(ending) == signal.SIG_DFL
        with pytest.raises(SystemExit) as ended:
            preemption.exit_if_requested("it is saved")
    assert ended.value.code == status
    assert capsys.readouterr().out == "it is saved\n"
    assert [signal.getsignal(each) for each in SIGNALS] == before
