"""pose-doctor: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from pose_runtime.atomic import check_writable, write_atomically
from pose_runtime.bench.run import Options
from pose_runtime.bundle import load_bundle
from pose_runtime.cli._common import Version, new_app, run_app
from pose_runtime.doctor.examine import examine, is_fit
from pose_runtime.doctor.finding import Finding
from pose_runtime.machine.host import Host
from pose_runtime.networks import DEFAULT

_RUNS, _SOAK_S = 50, 60

app = new_app()


@app.command()
def doctor(
    report: Annotated[
        Path | None,
        typer.Option(help="Also build, check, time and heat up a network; write all into this file.", metavar="FILE"),
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help=f"To run for --report.  [default: {DEFAULT}]", metavar="BUNDLE")
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help=f"Frames to time for --report.  [default: {_RUNS}]", metavar="N"),
    ] = None,
    soak: Annotated[
        float | None,
        typer.Option(min=0, max=86_400, help=f"Seconds of --report without pause.  [default: {_SOAK_S}]", metavar="S"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Look for what keeps pose-run from working well here; each fault comes with its remedy.

    Exit 1 if something keeps pose-run from working at all, or on a Jetson from using its GPU. The file of --report
    holds no names of users or hosts and no private paths.
    """
    if report is None and (bundle, runs, soak) != (None, None, None):
        raise typer.BadParameter("comes with --report only", param_hint="--bundle, --runs, --soak")
    if report is not None:
        check_writable(report)
    host = Host()
    findings = examine(host)
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        print("\n".join(lines(findings)))
    passed = is_fit(findings)
    if report is not None:
        from pose_runtime.bench.target import choose_device
        from pose_runtime.doctor.report import encode_report, make_report

        options = Options(choose_device("auto", None), runs=_RUNS if runs is None else runs)
        seconds = _SOAK_S if soak is None else soak
        loaded = load_bundle(DEFAULT if bundle is None else bundle)
        made = make_report(loaded, findings, options, seconds, host, _say)
        write_atomically(report, encode_report(made))
        for step, problem in made.problems.items():
            print(f"{step}: {problem}", file=sys.stderr)
        print(f"{report}: written", file=sys.stderr)
        passed = passed and made.passed
    if not passed:
        raise typer.Exit(1)


def _say(step: str) -> None:
    print(f"{step} …", file=sys.stderr)


def lines(findings: Sequence[Finding]) -> list[str]:
    """A line per finding, one more for its remedy, and how many there are of what is wrong."""
    wide = max(len(finding.check) for finding in findings)
    told = []
    for finding in findings:
        told.append(f"{finding.status.replace('not applicable', '-'):<8} {finding.check:<{wide}}  {finding.text}")
        if finding.remedy is not None:
            told.append(f"{'':<8} {'':<{wide}}  -> {finding.remedy}")
    faults, warnings = (sum(one.status == status for one in findings) for status in ("fault", "warning"))
    told.append(f"{_count(faults, 'fault')}, {_count(warnings, 'warning')}")
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def main() -> None:
    """Entry point of `pose-doctor`."""
    run_app(app)
