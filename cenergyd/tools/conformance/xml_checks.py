"""Checks of section 7 of the protocol, and of field observations (9): uploads in AcquiSuite-XML."""

from __future__ import annotations

from cenergyd.tools.conformance.client import Server
from cenergyd.tools.conformance.requests import basic_header, xml, xml_accepted
from cenergyd.tools.conformance.rules import rule


@rule("7", "AcquiSuite-XML LOGFILEUPLOAD with several devices and records: text/xml SUCCESS")
def xml_upload(server: Server) -> str | None:
    record = (
        '<record><time zone="UTC">2001-09-09 03:0{0}:00</time><error text="Ok">0</error>'
        '<point number="9" name="Watts, 3-Ph total" units="kW" value="0.011"/>'
        '<point number="12" name="Power Factor, 3-Ph total" units="" value="0.9"/></record>'
    )
    device = (
        "<device><name>x</name><address>{0}</address><type>t</type><class>35</class><numpoints>116</numpoints><records>"
        + record.format(1) + record.format(2) + "</records></device>"
    )  # fmt: skip
    return xml_accepted(xml(server, "LOGFILEUPLOAD", f"<devices>{device.format(241)}{device.format(242)}</devices>"))


@rule("7", "AcquiSuite-XML STATUS: text/xml SUCCESS")
def xml_status(server: Server) -> str | None:
    return xml_accepted(xml(server, "STATUS", "<uptime>5</uptime>"))


@rule("7", "AcquiSuite-XML with wrong credentials: 401 and <result>FAILURE</result>")
def xml_wrong(server: Server) -> str | None:
    response = xml(server, "STATUS", "", password=server.password + "x")
    good = response.status == 401 and b"<result>FAILURE" in response.body
    return None if good else f"{response.status} {response.body[:100]!r}"


@rule("7", "Entity expansion is off")
def xml_entities(server: Server) -> str | None:
    body = (
        '<?xml version="1.0"?><!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        f"<DAS><mode>STATUS</mode><name>&b;</name><serial>{server.serial}</serial></DAS>"
    )
    response = server.post("text/xml", body.encode(), headers=basic_header(server.serial, server.password))
    return (
        None
        if response.status == 406 and b"<result>FAILURE" in response.body
        else f"{response.status} {response.body[:100]!r}"
    )


@rule("9", "XML devices without an address are left out, the others taken: SUCCESS")
def xml_without_address(server: Server) -> str | None:
    record = '<record><time zone="UTC">2001-09-09 05:00:00</time><error>0</error><point number="1" name="Real Power" units="kW" value="4.5"/></record>'
    devices = (
        f"<device><address>247</address><class>2</class><records>{record}</records></device>"
        f"<device><serialnumber>0012AB</serialnumber><class>1010</class><records>{record}</records></device>"
    )
    return xml_accepted(xml(server, "LOGFILEUPLOAD", f"<devices>{devices}</devices>"))
