"""The app's command line: what makes no sense ends it in one line."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge_nerf.errors import UserError
from tests.waiting import PATIENCE

APP = Path(__file__).parents[2] / "app.py"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--prior", "nonsense"), 'unknown prior "nonsense"'),
        pytest.param(("--port", "70000"), "70000 is not a port", marks=pytest.mark.slow),
        (("--port", "{taken}"), "port"),
    ],
)
def test_bad_flags_end_in_one_line(served, tmp_path, flags, said):
    taken = served.rsplit(":", 1)[1].strip("/")
    command = [sys.executable, str(APP), *(flag.format(taken=taken) for flag in flags)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert said in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("port", ["abc", "99999", "0", "-1", ""])
def test_a_port_that_the_environment_names_wrongly_ends_it_in_one_line(tmp_path, port):
    environment = os.environ | {"GRADIO_SERVER_PORT": port}
    done = subprocess.run(
        [sys.executable, str(APP)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert done.stderr == f"app.py: GRADIO_SERVER_PORT={port} is not a port; give 1 to 65535\n"


@pytest.mark.parametrize(
    "host", ["nonsense.invalid", "256.1.1.1", "1.2.3.4", "", "[]", "a" * 300, "a..b", "\0"]
)
def test_a_host_that_is_none_of_this_machine_is_one_line(app, host):
    with pytest.raises(
        UserError, match=r"^--host .* is no address of this machine \(.*give 127\.0\.0\.1"
    ) as said:
        app.checked_host(host)
    assert "\n" not in str(said.value)


def test_hosts_of_this_machine_are_taken_and_ipv6_is_put_into_brackets(app):
    assert [app.checked_host(host) for host in ("127.0.0.1", "0.0.0.0")] == ["127.0.0.1", "0.0.0.0"]
    try:
        assert app.checked_host("::1") == app.checked_host("[::1]") == "[::1]"
    except UserError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.slow
@pytest.mark.parametrize("host", ["::1", "0.0.0.0"])
def test_other_hosts_are_served_and_a_hangup_leaves_nothing(tmp_path, host):
    """Also with a run on its way, which would make the folder anew."""
    import httpx

    log = tmp_path / "log"
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with log.open("w") as out:
        command = [sys.executable, str(APP), "--host", host]
        app = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out)
    end = time.monotonic() + PATIENCE
    while (said := re.search(r"http://\S+:\d+", log.read_text())) is None:
        assert app.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)
    address = said[0].replace("0.0.0.0", "127.0.0.1")
    wish = {"data": ["a duck", "sds", 0, False, 1000, 5, "", ""]}
    event = httpx.post(f"{address}/gradio_api/call/text_to_image", json=wish, timeout=PATIENCE).json()
    with httpx.stream(
        "GET", f"{address}/gradio_api/call/text_to_image/{event['event_id']}", timeout=PATIENCE
    ) as stream:
        for line in stream.iter_lines():
            if "generating" in line:
                break
        named = httpx.get(f"{address}/config", headers={"host": "toys.example"}).status_code
        app.send_signal(signal.SIGHUP)
    app.wait(PATIENCE)
    assert named == (200 if host == "0.0.0.0" else 403)
    assert not list(tmp_path.glob("bridge-nerf-*")) and "Traceback" not in log.read_text()
