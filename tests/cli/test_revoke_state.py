"""``gatepass revoke`` and the state directory, which others may enter: only what is secret in it is private."""

import stat


async def test_a_state_directory_that_others_may_enter_is_no_reason_not_to_revoke(gatepass):
    gatepass.state.mkdir(mode=0o755)
    gatepass.state.chmod(0o755)
    done = await gatepass("revoke", "agent", "coder", "--reason", "key leaked")
    assert done.status == 0, done.err
    assert "coder" in (await gatepass("revoke", "list")).out


async def test_an_order_may_come_before_the_first_start(gatepass):
    done = await gatepass("revoke", "agent", "coder", "--reason", "key leaked")
    assert done.status == 0, done.err
    assert stat.S_IMODE(gatepass.state.stat().st_mode) == 0o700


async def test_a_state_directory_that_cannot_be_made_is_one_line(gatepass):
    gatepass.state.write_text("")
    done = await gatepass("revoke", "agent", "coder", "--reason", "key leaked")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "cannot be made" in done.err
