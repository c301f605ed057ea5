"""How sizes and durations read. Pure."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


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


def duration(seconds: float) -> str:
    """Say a time.

    >>> duration(0.94), duration(11.2), duration(185), duration(7500)
    ('0.9 s', '11 s', '3 min 5 s', '2 h 5 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
