"""When a request is taken as whole, or given up, because nothing more is heard."""

from wire_messages import (
    KIB,
    MIB,
    Clock,
    a_budget,
    a_jpeg,
    a_request,
    an_assembler,
    an_image_request,
    buffered_bytes,
    errors,
    parts_of,
    payloads,
    push_all,
)


def test_an_image_without_its_end_is_taken_as_whole_after_250_ms_of_silence():
    clock = Clock()
    assembler = an_assembler(clock)
    assert assembler.push(an_image_request(b"no container")) == []

    assert assembler.next_expiry() == clock.now + 0.25
    assert assembler.expire(clock.now + 0.249) == []
    assert payloads(assembler.expire(clock.now + 0.25)) == [b"no container"]
    assert assembler.next_expiry() is None


def test_silence_is_that_of_the_stream_not_of_the_request():
    clock = Clock()
    assembler = an_assembler(clock)
    assembler.push(an_image_request(b"no container"))
    clock.now += 0.2
    assembler.push(a_request(b"a cat", correlation_id="other"))

    assert assembler.next_expiry() == clock.now + 0.25


def test_not_being_read_is_no_silence():
    clock = Clock()
    assembler = an_assembler(clock)
    assembler.push(an_image_request(b"no container"))
    clock.now += 5
    assembler.heard()

    assert assembler.next_expiry() == clock.now + 0.25


def test_a_first_part_on_a_slow_line_is_not_taken_as_whole():
    clock = Clock()
    assembler = an_assembler(clock)
    picture = a_jpeg(900_000)
    parts = parts_of(picture, 256 * KIB)
    assembler.push(parts[0])
    clock.now += 3

    assert assembler.expire(clock.now) == []
    assert payloads(push_all(assembler, parts[1:])) == [picture]


def test_parts_that_stop_coming_fail_their_request_in_the_end():
    clock = Clock()
    assembler = an_assembler(clock)
    push_all(assembler, parts_of(a_jpeg(900), 300)[:2])

    assert errors(assembler.expire(clock.now + 30)) == ["InvalidArgument"]
    assert buffered_bytes(assembler) == 0


def test_parts_that_keep_coming_do_not_keep_their_request_open_for_ever():
    clock = Clock()
    budget = a_budget(MIB)
    assembler = an_assembler(clock, budget=budget, request_age_s=120.0)
    outcomes = []
    for part in parts_of(a_jpeg(9000), 300)[:29]:
        outcomes += [*assembler.push(part), *assembler.expire(clock.now)]
        clock.now += 10

    assert errors(outcomes) == ["DeadlineExceeded"]
    assert "took more than 120 s to come" in outcomes[0].error.message
    assert buffered_bytes(assembler) == 0
    assert errors(assembler.half_close()) == []
    assert budget.held_bytes == 0


def test_repeating_a_part_for_ever_does_not_renew_its_requests_time_either():
    clock = Clock()
    assembler = an_assembler(clock)
    part = parts_of(a_jpeg(900), 300)[0]
    outcomes = assembler.push(part)
    for _ in range(30):
        clock.now += 5
        assembler.heard()
        outcomes += [*assembler.push(part), *assembler.expire(clock.now)]

    assert errors(outcomes) == ["DeadlineExceeded"]


def test_a_file_that_is_never_decided_because_others_come_is_taken_as_whole_by_age():
    clock = Clock()
    assembler = an_assembler(clock)
    picture = a_jpeg(900) + b"trailer"
    outcomes = assembler.push(an_image_request(picture, correlation_id="camera"))
    for _ in range(700):
        clock.now += 0.2
        assembler.push(a_request(b"a cat", correlation_id="other"))
        outcomes += assembler.expire(clock.now)

    assert payloads(outcomes) == [picture]
