-- SPDX-License-Identifier: Apache-2.0
-- Wireshark dissector for the light protocol (docs/protocol.md).
--   tshark -X lua_script:hutong.lua -r capture.pcap
--   Ethernet: EtherType 0x88B5. UDP: "Decode As...", or -d udp.port==PORT,hutong

local hutong = Proto("hutong", "Hutong light protocol")

local HEADER_BYTES = 32
local ACK_REQUESTED = 0x1
local CONTROL = 0x2
local ETHER_TYPE = 0x88B5

local item_kinds = {
  [0] = "PAD", [1] = "CREDIT", [2] = "MISSING", [3] = "ASK", [4] = "ECHO", [5] = "END",
  [6] = "END_ACK", [7] = "PROBE", [8] = "PROBE_ANSWER", [9] = "RESUME",
}

local f = hutong.fields
f.sum = ProtoField.uint32("hutong.sum", "H-sum (checksum)", base.HEX)
f.seq = ProtoField.uint32("hutong.seq", "H-seq (datagram number)")
f.idx = ProtoField.uint32("hutong.idx", "H-idx (offset of the first byte, low 32 bits)")
f.len = ProtoField.uint32("hutong.len", "H-len (bytes of data)")
f.ackseq = ProtoField.uint32("hutong.ackseq", "H-ackseq (next datagram expected)")
f.ackidx = ProtoField.uint32("hutong.ackidx", "H-ackidx (end of the data in order, low 32 bits)")
f.flags = ProtoField.uint32("hutong.flags", "H-flags", base.HEX)
f.request = ProtoField.bool("hutong.flags.request", "acknowledgement requested", 32, nil, ACK_REQUESTED)
f.control = ProtoField.bool("hutong.flags.control", "control", 32, nil, CONTROL)
f.chan = ProtoField.uint32("hutong.chan", "H-chan (receiver's entry)", base.HEX)
f.generation = ProtoField.uint16("hutong.chan.generation", "generation", base.HEX)
f.index = ProtoField.uint16("hutong.chan.index", "index")
f.data = ProtoField.bytes("hutong.data", "data")
f.mac = ProtoField.bytes("hutong.mac", "MAC or filling")
f.item = ProtoField.uint16("hutong.item", "item", base.DEC, item_kinds)
f.item_len = ProtoField.uint16("hutong.item.len", "length")
f.consumed = ProtoField.uint64("hutong.consumed", "consumed by the program up to")
f.room = ProtoField.uint64("hutong.room", "room up to")
f.number = ProtoField.uint32("hutong.number", "number")
f.size = ProtoField.uint32("hutong.size", "size in bytes")
f.offset = ProtoField.uint64("hutong.offset", "offset")
f.seen = ProtoField.uint16("hutong.missing.seen", "seen, from H-ackseq on")
f.first = ProtoField.uint16("hutong.missing.first", "first missing, from H-ackseq on")
f.count = ProtoField.uint16("hutong.missing.count", "how many")
f.epoch = ProtoField.uint32("hutong.resume.epoch", "epoch")
f.new_chan = ProtoField.uint32("hutong.resume.chan", "new H-chan", base.HEX)
f.first_seq = ProtoField.uint32("hutong.resume.seq", "first H-seq")
f.window = ProtoField.uint16("hutong.resume.window", "W")
f.answer = ProtoField.uint16("hutong.resume.answer", "answer")
f.wanted = ProtoField.uint64("hutong.resume.wanted", "offset wanted")

local malformed = ProtoExpert.new("hutong.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
hutong.experts = { malformed }

-- CRC32C, reflected, polynomial 0x1EDC6F41 (RFC 3720, appendix B.4), a table made once.
local crc_table = {}
for i = 0, 255 do
  local c = i
  for _ = 1, 8 do
    if bit32.band(c, 1) ~= 0 then
      c = bit32.bxor(bit32.rshift(c, 1), 0x82F63B78)
    else
      c = bit32.rshift(c, 1)
    end
  end
  crc_table[i] = c
end

-- Over header and data with the first field as zero.
local function checksum(buffer, length)
  local bytes = buffer(0, length):bytes()
  local c = 0xFFFFFFFF
  for i = 0, length - 1 do
    local b = i < 4 and 0 or bytes:get_index(i)
    c = bit32.bxor(bit32.rshift(c, 8), crc_table[bit32.band(bit32.bxor(c, b), 0xFF)])
  end
  return bit32.bnot(c) % 0x100000000
end

-- The fields of each kind of item, with the bytes that they take.
local item_fields = {
  [1] = { { f.consumed, 8 }, { f.room, 8 } },
  [3] = { { f.number, 4 } },
  [4] = { { f.number, 4 } },
  [5] = { { f.offset, 8 } },
  [6] = { { f.offset, 8 } },
  [7] = { { f.number, 4 } },
  [8] = { { f.number, 4 }, { f.size, 4 } },
  [9] = {
    { f.epoch, 4 }, { f.new_chan, 4 }, { f.first_seq, 4 }, { f.window, 2 }, { f.answer, 2 },
    { f.wanted, 8 }, { f.consumed, 8 }, { f.room, 8 },
  },
}

local function add_fields(tree, value, fields)
  local at = 0
  for _, field in ipairs(fields) do
    if at + field[2] > value:len() then
      tree:add_proto_expert_info(malformed, "value too short")
      return
    end
    tree:add(field[1], value(at, field[2]))
    at = at + field[2]
  end
end

local function add_missing(tree, value)
  if value:len() < 2 then
    tree:add_proto_expert_info(malformed, "value too short")
    return
  end
  tree:add(f.seen, value(0, 2))
  for at = 2, value:len() - 4, 4 do
    tree:add(f.first, value(at, 2))
    tree:add(f.count, value(at + 2, 2))
  end
end

-- Returns the items' names.
local function add_items(tree, data)
  local names = {}
  local at = 0
  while at < data:len() do
    if at + 4 > data:len() or at + 4 + data(at + 2, 2):uint() > data:len() then
      tree:add_proto_expert_info(malformed, "item cut short")
      break
    end
    local kind = data(at, 2):uint()
    local length = data(at + 2, 2):uint()
    local name = item_kinds[kind] or ("kind " .. kind)
    local item = tree:add(data(at, 4 + length), name)
    item:add(f.item, data(at, 2))
    item:add(f.item_len, data(at + 2, 2))
    if length > 0 and kind == 2 then
      add_missing(item, data(at + 4, length):tvb())
    elseif item_fields[kind] then
      if length == 0 then
        item:add_proto_expert_info(malformed, "value too short")
      else
        add_fields(item, data(at + 4, length):tvb(), item_fields[kind])
      end
    end
    if kind ~= 0 then
      names[#names + 1] = name
    end
    at = at + 4 + length
  end
  return names
end

function hutong.dissector(buffer, pinfo, root)
  if buffer:len() < HEADER_BYTES then
    return 0
  end
  pinfo.cols.protocol = "HUTONG"
  local length = buffer(12, 4):uint()
  local flags = buffer(24, 4):uint()
  local tree = root:add(hutong, buffer())
  local sum = tree:add(f.sum, buffer(0, 4))
  tree:add(f.seq, buffer(4, 4))
  tree:add(f.idx, buffer(8, 4))
  tree:add(f.len, buffer(12, 4))
  tree:add(f.ackseq, buffer(16, 4))
  tree:add(f.ackidx, buffer(20, 4))
  local flags_tree = tree:add(f.flags, buffer(24, 4))
  flags_tree:add(f.request, buffer(24, 4))
  flags_tree:add(f.control, buffer(24, 4))
  local chan = tree:add(f.chan, buffer(28, 4))
  chan:add(f.generation, buffer(28, 2))
  chan:add(f.index, buffer(30, 2))
  if length > buffer:len() - HEADER_BYTES then
    tree:add_proto_expert_info(malformed, "H-len is more than there is")
    return buffer:len()
  end
  if checksum(buffer, HEADER_BYTES + length) == buffer(0, 4):uint() then
    sum:append_text(" [right]")
  else
    sum:append_text(" [WRONG]")
    sum:add_proto_expert_info(malformed, "H-sum is wrong")
  end
  local what = "data " .. buffer(8, 4):uint() .. "+" .. length
  if bit32.band(flags, CONTROL) ~= 0 then
    what = "control"
    if length > 0 then
      what = table.concat(add_items(tree, buffer(HEADER_BYTES, length):tvb()), " ")
    end
  elseif length > 0 then
    tree:add(f.data, buffer(HEADER_BYTES, length))
  end
  if buffer:len() > HEADER_BYTES + length then
    tree:add(f.mac, buffer(HEADER_BYTES + length))
  end
  pinfo.cols.info = string.format("#%d %s%s, expects #%d", buffer(4, 4):uint(), what,
    bit32.band(flags, ACK_REQUESTED) ~= 0 and ", acknowledge" or "", buffer(16, 4):uint())
  return buffer:len()
end

DissectorTable.get("ethertype"):add(ETHER_TYPE, hutong)
DissectorTable.get("udp.port"):add_for_decode_as(hutong)
