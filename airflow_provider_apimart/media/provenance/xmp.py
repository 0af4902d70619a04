"""XMP packets: IPTC's properties for content made by AI, alone or added to what a file says already.

Properties: ``DigitalSourceType``, ``AISystemUsed`` and ``AIPromptInformation`` of the IPTC Photo and Video Metadata
standards, ``dc:identifier`` for the generation's id.
"""

from __future__ import annotations

import re

# The packets that are parsed come from outside; a document type, and with it every entity, is refused below.
from xml.etree import ElementTree

from airflow_provider_apimart.media.provenance.pieces import Piece

NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "x": "adobe:ns:meta/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_END = '\n<?xpacket end="w"?>'
#: What XML 1.0 cannot hold.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

for _prefix, _uri in NAMESPACES.items():
    ElementTree.register_namespace(_prefix, _uri)


def properties(piece: Piece) -> dict[str, str]:
    """Return what is said about a file, by prefixed name. Empty if nobody knows how it came to be."""
    if piece.kind is None:
        return {}
    generations = list(piece.generations())
    told = {"Iptc4xmpExt:DigitalSourceType": piece.kind.uri}
    systems = dict.fromkeys(f"{each.model} ({each.provider})" for each in generations)
    prompts = dict.fromkeys(each.prompt for each in generations if each.prompt)
    ids = {each.generation_id for each in generations}
    if systems:
        told["Iptc4xmpExt:AISystemUsed"] = "; ".join(systems)
    if prompts:
        told["Iptc4xmpExt:AIPromptInformation"] = "\n\n".join(filter(None, prompts))
    if len(ids) == 1 and (only := ids.pop()):
        told["dc:identifier"] = only
    return {name: _ILLEGAL.sub(" ", value) for name, value in told.items()}


def packet(told: dict[str, str], existing: bytes | None = None) -> bytes:
    """Return an XMP packet.

    :param told: as from :func:`properties`.
    :param existing: the packet that the file has now; what else it says is kept. One that is no XMP is replaced.
    """
    meta = _parsed(existing) if existing else None
    if meta is None:
        meta = ElementTree.Element(_name("x:xmpmeta"))
        ElementTree.SubElement(meta, _name("rdf:RDF"))
    rdf = meta if meta.tag == _name("rdf:RDF") else meta.find(_name("rdf:RDF"))
    assert rdf is not None  # noqa: S101  # for the type checker; _parsed has seen it
    names = {_name(name) for name in told}
    for description in rdf.findall(_name("rdf:Description")):
        for name in names:
            description.attrib.pop(name, None)
            for element in description.findall(name):
                description.remove(element)
        if not len(description) and set(description.attrib) <= {_name("rdf:about")}:
            rdf.remove(description)
    ours = ElementTree.SubElement(rdf, _name("rdf:Description"), {_name("rdf:about"): ""})
    for name, value in told.items():
        ElementTree.SubElement(ours, _name(name)).text = value
    return f"{_BEGIN}{ElementTree.tostring(meta, encoding='unicode')}{_END}".encode()


def _parsed(existing: bytes) -> ElementTree.Element | None:
    if b"<!" in existing.replace(b"<!--", b""):
        return None
    try:
        meta = ElementTree.fromstring(existing.strip(b"\0 \t\r\n").removeprefix(b"\xef\xbb\xbf"))  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    is_rdf = meta.tag == _name("rdf:RDF")
    return meta if is_rdf or meta.find(_name("rdf:RDF")) is not None else None


def _name(prefixed: str) -> str:
    prefix, _, name = prefixed.partition(":")
    return f"{{{NAMESPACES[prefix]}}}{name}"
