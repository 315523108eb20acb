from __future__ import annotations

import errno
import signal

import pytest

from rcn_search.cli.console import command, stop_on_signal
from rcn_search.config.errors import ConfigError
from rcn_search.errors import RcnSearchError
from rcn_search.training.exit_status import Interrupted, TrainingFailed


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (RcnSearchError("a remedy"), 1, "error: a remedy\n"),
        (ConfigError("a.yaml, line 3: wrong"), 1, "error: a.yaml, line 3: wrong\n"),
        (
            OSError(errno.ENOSPC, "Full"),
            1,
            "error: Full; free some space, then continue a run or a study with --resume\n",
        ),
        (FileNotFoundError(errno.ENOENT, "None", "a/b.csv"), 1, "error: a/b.csv: None; check the path\n"),
        (
            PermissionError(errno.EACCES, "Denied", "/root/x"),
            1,
            "error: /root/x: Denied; name another file or folder, or change its permissions\n",
        ),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Refused"),
            1,
            "error: Refused; check the address, the network and that the server is running\n",
        ),
        (PermissionError("s3://b/k: no. Check the key"), 1, "error: s3://b/k: no. Check the key\n"),
        (TrainingFailed("the loss became nan"), 1, "error: the loss became nan\n"),
        (Interrupted("stopped after epoch 3"), 130, "stopped after epoch 3\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (RcnSearchError("a[/b] [red]c"), 1, "error: a[/b] [red]c\n"),
    ],
)
def test_command_prints_user_errors_and_exits(
    outcome: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command
    def ends() -> None:
        raise outcome

    with pytest.raises(SystemExit) as ended:
        ends()
    assert ended.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "fault",
    [
        ZeroDivisionError(),
        ValueError("invalid literal for int()"),
        RuntimeError("shapes do not match"),
        OSError("nobody knows"),
        OSError(errno.EBADF, "Bad file descriptor"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),  # for Click, which ends quietly
    ],
    ids=repr,
)
def test_command_keeps_the_traceback_of_a_bug(fault: Exception) -> None:
    @command
    def breaks() -> None:
        raise fault

    with pytest.raises(type(fault)) as raised:
        breaks()
    assert raised.value is fault


def test_stop_on_signal_only_requests_a_stop(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number in (signal.SIGINT, signal.SIGTERM):
        with stop_on_signal() as should_stop:
            assert not should_stop()
            signal.raise_signal(number)
            assert should_stop()
            signal.raise_signal(signal.SIGTERM)  # a cluster that hurries is not a person who insists
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "stopping after this step; once more to stop at once" in capsys.readouterr().err
