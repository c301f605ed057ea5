"""How sizes, times and failures read on a terminal. Pure."""

from lumen_local.show.events import ServicePhase
from lumen_manifest.pod_reports import Attestation, Failure, ProgressReport

_UNITS = ("B", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Say a number of bytes in decimal units, as hubs do.

    >>> size(5_104_000), size(812), size(1_700_000_000)
    ('5.1 MB', '812 B', '1.7 GB')
    """
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    digits = 0 if unit == 0 or count >= 99.95 else 1
    return f"{count:.{digits}f} {_UNITS[unit]}"


def seconds(value: float) -> str:
    """Say a duration.

    >>> seconds(0.94), seconds(11.2), seconds(185)
    ('0.9 s', '11 s', '3 min 5 s')
    """
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def progress(phase: ServicePhase, of: ProgressReport) -> str:
    """Say what a service is doing, and how far it is; its own word for it is the better one."""
    doing = of.phase.lower() or phase.value
    if not of.total_bytes:
        return "   ".join(part for part in (doing, of.file) if part)
    parts = [f"{doing}  {size(of.done_bytes)} / {size(of.total_bytes)}"]
    if of.rate_bytes_per_s > 0:
        parts.append(f"{size(of.rate_bytes_per_s)}/s")
    if of.eta_s is not None:
        parts.append(f"{seconds(of.eta_s)} left")
    return "   ".join([*parts, *([of.file] if of.file else [])])


def attested(said: Attestation) -> str:
    """Say what a server says of itself: `onnxruntime 1.31, cpu, fp32, parity 1.0000`."""
    parts = [f"{said.runtime} {said.version}".strip(), said.device, said.precision]
    if said.parity is not None:
        parts.append(f"parity {said.parity:.4f}")
    elif said.runtime:
        parts.append("parity not checked")
    return ", ".join(part for part in parts if part)


def failure_lines(failure: Failure, retry_s: float | None) -> list[str]:
    """Say what failed, what to do, and whether it is tried again; the first line has the reason."""
    message = failure.message.splitlines() or [""]
    lines = [f"{failure.reason}  {message[0]}", *message[1:]]
    if failure.remedy:
        lines.append(failure.remedy)
    if retry_s is not None:
        lines.append(f"Trying again in {seconds(retry_s)}.")
    return lines
