"""The rig's configuration: the shipped files as they are, and around them what a test machine needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

RTP_PORTS = 400
"""A call takes two."""
SHIPPED = Path(__file__).resolve().parents[1]
EMPTY = ("acl", "ccss", "cdr", "cel", "codecs", "features", "manager", "pjproject", "udptl")
"""Files that Asterisk looks for and would complain about; the rig needs nothing in them."""

ENTRIES = ("all", "some", "missed", "hours")
"""The shipped ways in: calling `<entry>-<number>` at the rig is calling that number at `voice-agent-<entry>`."""

# The 440 Hz and 620 Hz tones are on the line for as long as the caller is: what a test listens for.
EXTENSIONS = """
[general]
static = yes
autofallthrough = yes

[globals]
{globals}

#include voice-agent.conf
#include voice-agent-site.conf

; What the caller's endpoint may dial: the shipped ways in by a prefix, and the phones.
[rig]
exten => _all-.,1,Goto(voice-agent-all,${{EXTEN:4}},1)
exten => _some-.,1,Goto(voice-agent-some,${{EXTEN:5}},1)
exten => _missed-.,1,Goto(voice-agent-missed,${{EXTEN:7}},1)
exten => _hours-.,1,ExecIf($["${{RIG_TIME}}" != ""]?Set(TESTTIME()=${{RIG_TIME}}))
 same => n,Goto(voice-agent-hours,${{EXTEN:6}},1)
exten => _bare-.,1,AGI(agi://127.0.0.1:${{VOICE_AGENT_AGI_PORT}}/start,,${{EXTEN:5}})
 same => n,Answer()
 same => n,AudioSocket(${{VOICE_AGENT_UUID}},127.0.0.1:${{VOICE_AGENT_AUDIO_PORT}})
 same => n,Hangup()
exten => _limited-.,1,Set(TIMEOUT(absolute)=8)
 same => n,Goto(voice-agent-all,${{EXTEN:8}},1)
exten => tone440,1,Answer()
 same => n,Playtones(440)
 same => n,Wait(60)
exten => tone620,1,Answer()
 same => n,Playtones(620)
 same => n,Wait(60)
exten => busy,1,Busy(1)
exten => silent,1,Wait(30)
"""

# Phones that dial back into this same Asterisk: real SIP, and nothing more to run.
PJSIP = """
[transport-udp]
type = transport
protocol = udp
bind = 127.0.0.1:{sip_port}

[caller](!)
type = endpoint
context = rig
disallow = all
allow = ulaw
direct_media = no
dtmf_mode = rfc4733

[rig](caller)
trust_id_inbound = yes

[rig]
type = identify
endpoint = rig
match = 127.0.0.1

[phone](!,caller)

{phones}
"""

QUEUES = """
[general]

[sales]
strategy = ringall
joinempty = paused,unavailable,invalid,unknown
member => PJSIP/{human}
"""

MANAGER = """
[general]
enabled = yes
bindaddr = 127.0.0.1
port = {manager_port}

[{user}]
secret = {secret}
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
write = call

[{checker}]
secret = {secret}
deny = 0.0.0.0/0.0.0.0
permit = 127.0.0.1/255.255.255.255
write = call,command
"""

MANAGER_USER, MANAGER_SECRET = "voice-agent", "the secret = of the rig"
CHECKER = "checker"
"""Another user with the same secret, who may also give commands."""

PHONE = """
[{name}](phone)
aors = {name}

[{name}]
type = aor
contact = sip:{extension}@127.0.0.1:{port}
"""

PHONES = {"2001": "tone620", "2002": "tone440", "2003": "busy", "2004": "silent"}
"""Phones by name, and what answers there."""

HUMAN = "2005"
"""A phone that is no part of this Asterisk: it rings where `human_port` is, when somebody is there (`rig.sipp`)."""

PEOPLE_ANSWER, PEOPLE_BUSY, PEOPLE_SILENT = "PJSIP/2002", "PJSIP/2003", "PJSIP/2004"
"""What VOICE_AGENT_PEOPLE may be here: somebody who answers with 440 Hz, is busy, or does not answer."""

ASTERISK = """
[directories]
astetcdir => {directory}/etc
astmoddir => {modules}
astvarlibdir => {directory}/lib
astdbdir => {directory}/lib
astkeydir => {directory}/lib
astdatadir => /usr/share/asterisk
astagidir => {directory}/agi-bin
astspooldir => {directory}/spool
astrundir => {directory}/run
astlogdir => {directory}/log
"""

OPTIONS = """
[options]
verbose = 3
maxcalls = 200
"""

INDICATIONS = """
[general]
country = gb

[gb]
description = United Kingdom
ringcadence = 400,200,400,2000
dial = 350+440
busy = 400/375,0/375
ring = 400+450/400,0/200,400+450/400,0/2000
"""

LOGGER = """
[general]
dateformat = %F %T.%3q

[logfiles]
full => notice,warning,error,verbose(3)
"""


@dataclass(frozen=True, slots=True)
class RigConfig:
    """Ports of one Asterisk and of its agent, and whom the dialplan rings."""

    sip_port: int
    rtp_port: int
    audio_port: int
    agi_port: int
    manager_port: int
    human_port: int
    metadata: Path
    people: str

    @property
    def globals(self) -> dict[str, str]:
        """The shipped dialplan's global variables."""
        return {
            "VOICE_AGENT_HOST": "127.0.0.1",
            "VOICE_AGENT_AUDIO_PORT": str(self.audio_port),
            "VOICE_AGENT_AGI_PORT": str(self.agi_port),
            "VOICE_AGENT_HTTP_PORT": "",
            "VOICE_AGENT_SCRIPT": "",
            "VOICE_AGENT_CODEC": "",
            "VOICE_AGENT_METADATA": str(self.metadata),
            "VOICE_AGENT_PEOPLE": self.people,
            "VOICE_AGENT_RING": "2",
            "RIG_TIME": "",
        }


def write_config(root: Path, directory: Path, config: RigConfig, *, sample: bool = False) -> None:
    """Write everything below `root`/`directory` (`directory` is absolute, as Asterisk sees it in its root).

    `sample` takes the shipped sample configuration as it is, but for the directories and the SIP port.
    """
    place = root / directory.relative_to("/")
    for name in ("etc", "lib", "agi-bin", "spool", "run", "log"):
        (place / name).mkdir(parents=True)
    metadata = root / config.metadata.relative_to("/")
    metadata.mkdir()
    metadata.chmod(0o2770)
    shutil.copy(SHIPPED / "voice-agent.agi", place / "agi-bin")
    etc = place / "etc"
    for shipped in (*SHIPPED.glob("voice-agent*.conf"), *SHIPPED.glob("sample/*.conf")):
        shutil.copy(shipped, etc)
    for name in EMPTY:
        (etc / f"{name}.conf").touch()
    found = sorted((root / "usr/lib").glob("*/asterisk/modules")) or [root / "usr/lib/asterisk/modules"]
    directories = ASTERISK.format(directory=directory, modules=Path("/") / found[0].relative_to(root))
    if sample:
        files = {
            "asterisk": directories + (etc / "asterisk.conf").read_text(),
            "pjsip": (etc / "pjsip.conf").read_text().replace("0.0.0.0:5060", f"127.0.0.1:{config.sip_port}"),
        }
    else:
        # What the rig's own phones answer with, and calls that Asterisk itself makes over AudioSocket.
        with (etc / "modules.conf").open("a") as modules:
            for name in ("app_playtones", "app_echo", "res_clioriginate"):
                modules.write(f"load={name}.so\n")
        files = _files(directories, config)
    for name, text in (files | {"indications": INDICATIONS, "logger": LOGGER}).items():
        (etc / f"{name}.conf").write_text(text.lstrip())


def _files(directories: str, config: RigConfig) -> dict[str, str]:
    """The rig's own configuration files, by name."""
    places = {name: (extension, config.sip_port) for name, extension in PHONES.items()}
    places[HUMAN] = (HUMAN, config.human_port)
    phones = "".join(
        PHONE.format(name=name, extension=extension, port=port) for name, (extension, port) in places.items()
    )
    return {
        "asterisk": directories + OPTIONS,
        "rtp": f"[general]\nrtpstart={config.rtp_port}\nrtpend={config.rtp_port + RTP_PORTS - 2}\n",
        "queues": QUEUES.format(human=HUMAN),
        "manager": MANAGER.format(
            manager_port=config.manager_port, user=MANAGER_USER, checker=CHECKER, secret=MANAGER_SECRET
        ),
        "pjsip": PJSIP.format(sip_port=config.sip_port, phones=phones),
        "extensions": EXTENSIONS.format(
            globals="\n".join(f"{name} = {value}" for name, value in config.globals.items())
        ),
    }
