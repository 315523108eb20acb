from __future__ import annotations

import codecs
import errno
import io
import re
import signal

import pytest
from rich.console import Console
from rich.table import Table

from rcn_search.cli import console as module
from rcn_search.cli.console import command, prepare_output, print_text, progress, stop_on_signal
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


def replace_stdout(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Make standard output a file that can hold ASCII alone. Not a fixture: pytest replaces it before a test, too."""
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii", write_through=True))
    monkeypatch.setattr(module, "console", Console(markup=False))
    monkeypatch.delenv("COLUMNS", raising=False)
    return written


def test_prepare_output_replaces_what_cannot_be_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    written = replace_stdout(monkeypatch)
    prepare_output()
    print_text("80×80 → 5.31–5.56 ± 2, Ürümqi \udcff")
    assert written.getvalue() == b"80x80 -> 5.31-5.56 +- 2, ?r?mqi ?\n"
    with pytest.raises(UnicodeDecodeError):  # it is for output alone
        codecs.decode(b"\xff", "ascii", "rcn-search")


def test_prepare_output_to_a_pipe_prints_tables_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    written = replace_stdout(monkeypatch)

    def print_wide_table() -> bytes:
        written.seek(0)
        written.truncate()
        table = Table("name", box=None)
        table.add_row("x" * 300)
        module.console.print(table)
        return written.getvalue()

    prepare_output()
    assert b"x" * 300 in print_wide_table()
    monkeypatch.setattr(module, "console", Console(markup=False, width=60))
    monkeypatch.setenv("COLUMNS", "60")
    prepare_output()
    assert b"x" * 61 not in print_wide_table(), "who sets COLUMNS means it"


def test_console_prints_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    module.console.print("[/x]/[red]run [bold]a[/]")
    module.errors.print("[/x]")
    table = Table("[red]name", box=None, pad_edge=False)
    table.add_row("[/x]")
    module.console.print(table)
    printed = capsys.readouterr()
    assert printed.out.split() == ["[/x]/[red]run", "[bold]a[/]", "[red]name", "[/x]"]
    assert printed.err == "[/x]\n"


def test_progress_on_a_terminal_leaves_lines_of_text_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are on one console, which clears the bar before it prints a line."""
    terminal = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=terminal, force_terminal=True, width=80, markup=False))
    with progress("training", "steps") as advance, stop_on_signal():
        advance(1, 2)
        print_text("epoch 1/2")
        signal.raise_signal(signal.SIGTERM)
    for line in ("epoch 1/2", "stopping after this step"):
        before, _, _ = terminal.getvalue().partition(line)
        assert re.search(r"\x1b\[2K(\x1b\[\d+m)*$", before), repr(before)
