"""A diagnosis: what was found on each rank, and what is to be said of all of them together. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from syncmetrics.diagnose.exchange import Exchange
from syncmetrics.diagnose.findings import Finding, Level, worst
from syncmetrics.diagnose.judge import listed
from syncmetrics.diagnose.network import is_loopback

__all__ = [
    "Diagnosis",
    "RankReport",
    "compare_ranks",
    "judge_clocks",
    "machines_of",
    "merge_findings",
    "ranks_named",
    "read_findings",
    "report_of_text",
]

#: What differs from rank to rank as it should.
_OWN = ("host", "machine", "devices", "cores", "gloo interface", "gloo address", "NCCL interface")
_OWN_VARIABLES = ("$RANK", "$LOCAL_", "$GROUP_", "$ROLE_", "$TORCHELASTIC_", "$CUDA_VISIBLE", "$GLOO_SOCKET_IFNAME")
#: Differences that break something.
_HARMFUL = ("torch", "syncmetrics", "$WORLD_SIZE", "$MASTER_ADDR", "$MASTER_PORT")
#: Clocks that are further apart than this make every sync ask once more whether a rank has given up.
_CLOCKS_APART = 0.5


@dataclass(frozen=True, slots=True)
class RankReport:
    """What was found on one rank.

    Attributes:
        rank: The rank; 0 where there is no job.
        facts: What was found, as text by name.
        findings: What is to be said of it.
    """

    rank: int
    facts: dict[str, str]
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, on one machine or in a whole job.

    Attributes:
        findings: What is to be said, the same for all ranks together where it is the same.
        world_size: Ranks of the job; 1 where there is none.
        ranks: A report for each rank. Only rank 0 has those of the others.
        exchange: What exchanges between ranks took; None if none was possible.
        is_partial: Whether this rank could not hear of the others.
    """

    findings: tuple[Finding, ...]
    world_size: int = 1
    ranks: tuple[RankReport, ...] = ()
    exchange: Exchange | None = None
    is_partial: bool = False

    @property
    def level(self) -> Level:
        """The worst of all findings."""
        return worst(self.findings)

    def to_json(self) -> str:
        """Give everything as JSON."""
        return json.dumps({"level": self.level, **asdict(self)}, indent=1)


def report_of_text(text: bytes) -> RankReport:
    """Read what a rank has written of itself with `json.dumps(asdict(report))`."""
    said = json.loads(text)
    return RankReport(said["rank"], said["facts"], tuple(read_findings(said["findings"])))


def read_findings(said: Sequence[dict[str, Any]]) -> list[Finding]:
    """Read findings that have been written as JSON."""
    return [Finding(**{**one, "ranks": tuple(one["ranks"])}) for one in said]


def merge_findings(reports: Sequence[RankReport]) -> list[Finding]:
    """Say once what holds for several ranks, in the order in which they were found.

    What is as it should be is said for the first rank alone: where others have something else, it is no finding of
    theirs, but a difference.
    """
    hosts = {report.facts.get("host", "") for report in reports}
    found: dict[Finding, list[int]] = {}
    for report in reports:
        host = report.facts.get("host", "") if len(hosts) > 1 else ""
        for finding in report.findings:
            if finding.level != "ok":
                found.setdefault(_of_any_host(finding, host), []).append(report.rank)
            elif report is reports[0]:
                found.setdefault(finding, []).append(report.rank)
    spoilt = {(one.area, one.about) for one in found if one.level != "ok"}
    merged = []
    for finding, ranks in found.items():
        if finding.level == "ok" and (finding.area, finding.about) in spoilt:
            continue
        everywhere = finding.level == "ok" or len(ranks) == len(reports)
        merged.append(replace(finding, ranks=() if everywhere else tuple(ranks)))
    areas = list(dict.fromkeys(finding.area for finding in merged))
    return sorted(merged, key=lambda finding: areas.index(finding.area))


def _of_any_host(finding: Finding, host: str) -> Finding:
    """Put something in the place of a host's name, so that what is wrong on a hundred hosts is said once."""
    if not host:
        return finding
    text, advice = (said.replace(host, "HOST") for said in (finding.text, finding.advice))
    return replace(finding, text=text, advice=advice)


def compare_ranks(reports: Sequence[RankReport]) -> list[Finding]:
    """Say in what the ranks of a job differ, and which of them share a host."""
    found = [_hosts(reports)]
    names = dict.fromkeys(name for report in reports for name in report.facts)
    for name in names:
        if name in _OWN or name.startswith(_OWN_VARIABLES):
            continue
        groups = _groups(reports, name)
        if len(groups) > 1:
            found.append(_difference(name, groups))
    if len(found) == 1:
        text = "Versions, threads, timeouts and variables are the same on all ranks."
        found.append(Finding("ok", "between ranks", "differences", text))
    return [*found, *_loopback(reports)]


def _groups(reports: Sequence[RankReport], name: str) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for report in reports:
        groups.setdefault(report.facts.get(name, "not there"), []).append(report.rank)
    return groups


def _difference(name: str, groups: dict[str, list[int]]) -> Finding:
    called = name.removeprefix("$")
    text = f"{'; '.join(f'{value} on {ranks_named(ranks)}' for value, ranks in groups.items())}."
    about = f"{called} differs"
    if name in _HARMFUL:
        advice = f"Make {called} the same on all ranks: ranks that differ in it may compute different values, or wait."
        return Finding("problem", "between ranks", about, text, advice)
    return Finding("note", "between ranks", about, text, f"Make {called} the same on all ranks, unless it is meant.")


def ranks_named(ranks: Sequence[int]) -> str:
    """Name ranks, runs of them by their ends.

    Example:
        >>> ranks_named([3]), ranks_named([0, 1, 2, 5, 8, 9])
        ('rank 3', 'ranks 0-2, 5 and 8-9')
    """
    runs: list[list[int]] = []
    for rank in ranks:
        if runs and rank == runs[-1][-1] + 1:
            runs[-1].append(rank)
        else:
            runs.append([rank])
    texts = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"rank{'s' if len(ranks) > 1 else ''} {listed(texts)}"


def _hosts(reports: Sequence[RankReport]) -> Finding:
    hosts = _groups(reports, "host")
    text = "; ".join(f"{ranks_named(ranks)} on {host}" for host, ranks in hosts.items())
    apart = {report.facts.get("machine", "") for report in reports}
    about, area = "hosts", "between ranks"
    boots = machines_of(reports)
    if len(apart) > len(boots):
        text += f". {len(apart)} containers run on {len(boots)} machine{'s' if len(boots) > 1 else ''}"
    return Finding("ok", area, about, f"{text[0].upper()}{text[1:]}.")


def machines_of(reports: Sequence[RankReport]) -> set[str]:
    """Tell the machines that ranks run on: by their boots, which all containers of a machine have in common."""
    return {report.facts.get("machine", "").partition("/")[0] or report.facts.get("host", "") for report in reports}


def _loopback(reports: Sequence[RankReport]) -> list[Finding]:
    """Find ranks of a job over several hosts that the others cannot connect to."""
    if len(_groups(reports, "machine")) < 2 and len(_groups(reports, "host")) < 2:
        return []
    ranks = [report.rank for report in reports if is_loopback(report.facts.get("gloo address", ""))]
    if not ranks:
        return []
    text = f"gloo takes the loopback on {ranks_named(ranks)}, but the job has several hosts: they cannot connect to it."
    advice = "Set GLOO_SOCKET_IFNAME on each host to the interface between them; `ip -br addr` lists them."
    return [Finding("problem", "between ranks", "gloo", text, advice)]


def judge_clocks(exchange: Exchange) -> list[Finding]:
    """Say how far the clocks of the ranks are apart."""
    clocks = exchange.clocks
    if len(clocks) < 2:
        return []
    off = {rank: clock for rank, clock in enumerate(clocks) if abs(clock.ahead) - clock.within > _CLOCKS_APART}
    if not off:
        widest = max(abs(clock.ahead) + clock.within for clock in clocks)
        text = f"The clocks of all ranks are within {widest * 1e3:.1f} ms of that of rank 0."
        return [Finding("ok", "between ranks", "clocks", text)]
    said = [f"{ranks_named([rank])} by {clock.ahead:+.1f} s" for rank, clock in off.items()]
    text = f"Clocks differ from that of rank 0: {listed(said)}."
    advice = (
        "Set them with chrony or ntpd. Values stay right, but each sync asks once more, and what `trace` and logs say"
        " of who waited is wrong."
    )
    return [Finding("note", "between ranks", "clocks", text, advice)]
