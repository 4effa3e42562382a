#!/usr/bin/env python3
"""Reads a stopped queue's directory, written from docs/queue-format.md alone and in another language: the proof that the
page is enough. Prints one JSON object: the segments and records of each lane, the place of each destination.

It sees what the next start would see. It repairs nothing and knows nothing of payloads.

    read_by_document.py QUEUE_DIRECTORY
"""

import json
import os
import re
import struct
import sys

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)
LIMIT = 1 << 62


def crc32c(*parts):
    crc = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


def fnv64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


class Text:
    """Fields one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        length = self.take("H")
        self.at += length
        return self.data[self.at - length:self.at].decode()


def slot(data):
    """Generation and content of a valid slot, or None."""
    if len(data) < 32 or data[:8] != b"SIGQCUR\n":
        return None
    major, _minor, _size, generation, length, crc = struct.unpack_from("<HHIQII", data, 8)
    content = data[32:32 + length]
    if len(content) != length or crc32c(data[:28], content) != crc:
        return None
    if major > 1:
        sys.exit(f"cursor file of format {major}")
    fields = Text(content)
    found = {"destination": fields.text(), "lanes": []}
    for _ in range(fields.take("H")):
        lane = {"lane": fields.text()}
        names = ["start_item", "settled_offset", "settled_item", "end_offset", "end_item"]
        columns = ["delivered", "filtered", "rejected", "evicted", "expired", "damaged"]
        lane.update(zip(names, fields.take("5Q")))
        lane.update(zip(columns, fields.take("6Q")))
        ranges = fields.take("B")
        fields.at += 32 * ranges
        lane["rejected_by"] = {}
        for _ in range(fields.take("H")):
            reason = fields.text()
            lane["rejected_by"][reason] = fields.take("Q")
        if lane["settled_item"] - lane["start_item"] != sum(lane[name] for name in columns):
            lane["start_item"] = lane["settled_item"]
            lane.update({name: 0 for name in columns}, rejected_by={})
        found["lanes"].append(lane)
    return generation, found


def cursors(directory):
    out = {}
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".cur"):
            continue
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        size = next(
            (struct.unpack_from("<I", part, 12)[0] for part in (data, data[len(data) // 2:]) if part[:8] == b"SIGQCUR\n"), 4096
        )
        valid = [found for found in (slot(data[:size]), slot(data[size:2 * size])) if found]
        if valid:
            newest = max(valid, key=lambda found: found[0])[1]
            out[newest["destination"]] = newest["lanes"]
    return out


def header(data, base, lane):
    """The fields of a segment header, or None."""
    if len(data) < 128 or data[:8] != b"SIGQSEG\n" or crc32c(data[:124]) != struct.unpack_from("<I", data, 124)[0]:
        return None
    major, _minor, length = struct.unpack_from("<HHI", data, 8)
    if major > 1:
        sys.exit(f"segment of format {major}")
    names = ["nonce", "base", "first_item", "previous_base", "previous_end", "previous_nonce"]
    out = dict(zip(names, struct.unpack_from("<6Q", data, 16)), length=length)
    out["created_ms"], lane_hash = struct.unpack_from("<qQ", data, 64)
    return out if out["base"] == base and lane_hash == fnv64(lane) else None


def share(nonce):
    """What a nonce adds to the checksum of a frame's header."""
    return crc32c(bytes(56), struct.pack("<QQ", nonce, 0)) ^ crc32c(bytes(72))


SHARES = []
for bit in range(32):
    nonce, added = 1 << bit, share(1 << bit)
    for held, of in SHARES:
        if added ^ held < added:
            added, nonce = added ^ held, nonce ^ of
    SHARES = sorted(SHARES + [(added, nonce)], reverse=True)


def proven_nonce(data, base, end):
    """The nonce of a segment whose header is damaged and that no other names, or None."""
    segment = {"base": base, "length": 128}
    if len(data) >= 24:
        segment["nonce"] = struct.unpack_from("<Q", data, 16)[0]
        if any(one for _, one in frames(data, segment, end)):
            return segment["nonce"]
    for offset in range(base, end, 8):
        head = data[128 + offset - base:][:64]
        if len(head) < 64 or head[:4] != b"\xf7SQ\x1b":
            continue
        missing, nonce = struct.unpack_from("<I", head, 4)[0] ^ crc32c(head[8:], struct.pack("<QQ", 0, offset)), 0
        for added, of in SHARES:
            if missing ^ added < missing:
                missing, nonce = missing ^ added, nonce ^ of
        segment["nonce"] = nonce
        one = frame(data, segment, offset, end)
        if one and one["durable_before"] <= offset:
            if frame(data, segment, one["end"], end) or one["body"] and one["sound"]:
                return nonce
    return None


def frame(data, segment, offset, end):
    """The header of the frame at a lane offset, or None."""
    at = segment["length"] + offset - segment["base"]
    head = data[at:at + 64]
    if len(head) < 64 or offset + 64 > end or head[:4] != b"\xf7SQ\x1b":
        return None
    if struct.unpack_from("<I", head, 4)[0] != crc32c(head[8:], struct.pack("<QQ", segment["nonce"], offset)):
        return None
    names = ["body", "body_crc", "raw", "items", "first_item", "stream", "ingest_ms", "durable_before", "kind", "codec", "references"]
    out = dict(zip(names, struct.unpack_from("<IIIIQQqQBBH", head, 8)), offset=offset)
    out["end"] = offset + 64 + (out["body"] + 7) // 8 * 8
    if out["body"] > 16 << 20 or out["references"] * 24 > out["body"] or out["end"] > end:
        return None
    if out["first_item"] >= LIMIT or out["durable_before"] >= LIMIT:
        return None
    out["sound"] = crc32c(data[at + 64:at + 64 + out["body"]]) == out["body_crc"]
    return out


def frames(data, segment, end):
    """Every frame header from the base to the end, past damage."""
    offset = segment["base"]
    while offset < end:
        found = frame(data, segment, offset, end)
        yield offset, found
        offset = found["end"] if found else offset + 8


def lane(directory, name, witness):
    segments = []
    for entry in sorted(os.listdir(directory)):
        if not re.fullmatch(r"[0-9a-f]{16}\.seg", entry):
            continue
        with open(os.path.join(directory, entry), "rb") as file:
            data = file.read()
        base = int(entry[:16], 16)
        segments.append({"base": base, "data": data, "header": header(data, base, name)})
    known = []
    for index, segment in enumerate(segments):
        later = segments[index + 1] if index + 1 < len(segments) else None
        said = later and later["header"] and later["header"]["previous_base"] == segment["base"] and later["header"]
        found = segment["header"]
        end = segment["base"] + len(segment["data"]) - (found["length"] if found else 128)
        if later:
            end = min(end, later["base"])
        if said:
            end = min(end, said["previous_end"])
        if not found:
            nonce = said["previous_nonce"] if said else proven_nonce(segment["data"], segment["base"], end)
            if nonce is None:
                continue
            found = {"base": segment["base"], "nonce": nonce, "length": 128, "created_ms": 0}
        if "first_item" not in found:
            firsts = [one["first_item"] for _, one in frames(segment["data"], found, end) if one]
            if not firsts:
                continue
            found["first_item"] = firsts[0]
        known.append({"data": segment["data"], "header": found, "end": end})
    next_item = witness["item"]
    if known:
        last, promised, torn = known[-1], witness["offset"], None
        end, item = last["header"]["base"], last["header"]["first_item"]
        for offset, one in frames(last["data"], last["header"], last["end"]):
            if one and one["sound"] and one["first_item"] >= item:
                end, item = one["end"], one["first_item"] + one["items"]
            if one:
                promised = max(promised, min(one["durable_before"], offset))
        place, numbered = last["header"]["base"], last["header"]["first_item"]
        for offset, one in frames(last["data"], last["header"], end):
            if one and one["sound"]:
                numbered = one["first_item"] + one["items"]
            elif offset >= promised and torn is None:
                torn = (offset, numbered)
        if torn:
            end, item = torn
        last["end"], next_item = end, max(next_item, item)
        if end == last["header"]["base"]:
            known.pop()
    records, contexts = [], 0
    for segment in known:
        sound = []
        for _, one in frames(segment["data"], segment["header"], segment["end"]):
            if one and one["sound"]:
                at = segment["header"]["length"] + one["offset"] - segment["header"]["base"] + 64
                sound.append((one, segment["data"][at:at + one["body"]]))
        # Any copy of a context will do.
        keys = [body[:16] for one, body in sound if one["kind"] == 0]
        contexts += len(keys)
        for one, body in sound:
            needed = [body[24 * number:24 * number + 16] for number in range(one["references"])]
            if one["kind"] != 0 and all(key in keys for key in needed):
                records.append({name: one[name] for name in ("offset", "first_item", "items", "kind", "stream", "ingest_ms")})
    rows = []
    for index, segment in enumerate(known):
        after = known[index + 1]["header"]["first_item"] if index + 1 < len(known) else next_item
        found = segment["header"]
        rows.append({"base": found["base"], "end": segment["end"], "first_item": found["first_item"],
                     "items": after - found["first_item"], "created_ms": found["created_ms"]})
    return {"lane": name, "next_item": next_item, "segments": rows, "records": records, "contexts": contexts}


def main(directory):
    places = cursors(os.path.join(directory, "cursors"))
    lanes = []
    for name in sorted(os.listdir(os.path.join(directory, "lanes"))):
        held = [one for lanes_of in places.values() for one in lanes_of if one["lane"] == name]
        witness = {
            "offset": max([max(one["settled_offset"], one["end_offset"]) for one in held], default=0),
            "item": max([max(one["settled_item"], one["end_item"]) for one in held], default=0),
        }
        lanes.append(lane(os.path.join(directory, "lanes", name), name, witness))
    rows = [{"destination": destination, **one} for destination, of in sorted(places.items()) for one in of]
    for row in rows:
        of = next((one for one in lanes if one["lane"] == row["lane"]), None)
        pending = [one for one in of["records"] if one["first_item"] + one["items"] > row["settled_item"]] if of else []
        row["pending_items"] = (of["next_item"] if of else row["end_item"]) - row["settled_item"]
        row["oldest_pending_ms"] = pending[0]["ingest_ms"] if pending else None
    json.dump({"lanes": lanes, "cursors": rows}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
