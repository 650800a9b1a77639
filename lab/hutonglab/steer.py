# SPDX-License-Identifier: Apache-2.0
"""Which processor handles what a host, or a VM, receives: what a network card's queues decide (RSS)."""

import contextlib
import ctypes
import os
import platform
import socket
import struct

from . import enter, topology
from .errors import LabError
from .net import GRO, ethtool, inside

#: Frames without IP, which the light protocol's are on the Ethernet wire.
LIGHT = 0x88B5

_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _PROG_ATTACH, _SCHED_CLS, _TCX_EGRESS = 5, 8, 3, 47  # linux/bpf.h; tcx since Linux 6.6
_SET_HASH = 48
_UNSPEC, _SHOT = -1, 2  # TC_ACT_*
_libc = ctypes.CDLL(None, use_errno=True)


def by_flow(hosts, link):
    """
    A virtual cable has a queue for each *sending* processor, so frames of one connection overtake each other, and TCP
    sends again what was not lost: up to 1 % of the link. Steered by flow, as a card's queues are, they stay in order.
    """
    for host in hosts:
        for node, devices in _ports(host, link):
            inside(node, lambda names=devices: _all_processors(names))


def in_polls(hosts):
    """
    Has hosts take what their VMs send in polls (NAPI), as a driver domain does, not each frame by itself in the sender's
    system call.
    """
    for host in hosts:
        inside(host, lambda h=host: _poll(vm.vif for vm in topology.vms_of(h)))


def light_by_host(hosts, link):
    """
    The kernel knows no flows in frames without IP: all of them, of both hosts, would go to one and the same processor,
    which a hash chooses. A card puts them into one queue, and two hosts have two cards: so each host has one processor for
    them, the first and the last. Where this kernel cannot be told, they stay where they were: false.
    """
    first, last = (1, -1)  # as hashes: the kernel takes the upper part of hash times processors
    for host, to_host, to_peer in ((hosts[0], first, last), (hosts[1], last, first)):
        try:
            inside(host, lambda h=to_peer: _hash_of_light(link, h))
            for vm in topology.vms_of(host):
                inside(vm, lambda name=vm.interface, h=to_host: _hash_of_light(name, h))
        except LabError:
            return False
    return True


def _ports(host, link):
    yield host, [link] + [vm.vif for vm in topology.vms_of(host)]
    for vm in topology.vms_of(host):
        yield vm, [vm.interface]


def _all_processors(devices):
    mask = (1 << (os.cpu_count() or 1)) - 1
    words = []
    while mask:
        words.insert(0, "%x" % (mask & 0xffffffff))
        mask >>= 32
    enter.own_sysfs()
    for device in devices:
        with contextlib.suppress(OSError):  # a kernel that cannot
            with open("/sys/class/net/%s/queues/rx-0/rps_cpus" % device, "w", encoding="ascii") as f:
                f.write(",".join(words))


def _poll(devices):
    for device in devices:
        with contextlib.suppress(OSError):  # a kernel whose virtual cables cannot
            ethtool(device, (GRO,), 1)  # which is what turns polling on


def _bpf(command, attributes):
    number = _SYS_BPF.get(platform.machine())
    if number is None:
        return -1
    buffer = ctypes.create_string_buffer(attributes, 128)
    return _libc.syscall(ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(128))


def _instruction(code, registers=0, offset=0, value=0):
    return struct.pack("<BBhi", code, registers, offset, value)


def _of_light(*then):
    """if (skb->protocol == LIGHT) those instructions; return TC_ACT_UNSPEC;"""
    return b"".join((
        _instruction(0x61, 0x12, 16),                                     # w2 = skb->protocol
        _instruction(0x55, 0x02, len(then), socket.htons(LIGHT)),         # if r2 != LIGHT skip them
        *then,
        _instruction(0xB7, 0x00, 0, _UNSPEC),                             # r0 = TC_ACT_UNSPEC
        _instruction(0x95)))                                              # exit


def _load(program):
    """A descriptor, or a negative number where this kernel does not take it."""
    code, license_text = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"Apache-2.0")
    return _bpf(_PROG_LOAD, struct.pack("<IIQQ", _SCHED_CLS, len(program) // 8, ctypes.addressof(code),
                                        ctypes.addressof(license_text)))


def _leaving(device, program):
    """Has what leaves by that device of this namespace go through a program from then on, in turn with others."""
    number = _load(program)
    if number < 0:
        raise OSError(ctypes.get_errno(), "this kernel takes no such program")
    try:
        if _bpf(_PROG_ATTACH, struct.pack("<III", socket.if_nametoindex(device), number, _TCX_EGRESS)) != 0:
            raise OSError(ctypes.get_errno(), "this kernel attaches no program to " + device)
    finally:
        os.close(number)


def _hash_of_light(device, value):
    """Whatever light frame leaves by that device bears this hash from then on."""
    _leaving(device, _of_light(_instruction(0xB4, 0x02, 0, value),        # w2 = value
                               _instruction(0x85, 0, 0, _SET_HASH)))      # call; r1 is still the skb


def without_light(host, device):
    """No light frame leaves by that device of the host from then on; LabError where the kernel cannot do that."""
    inside(host, lambda: _leaving(device, _of_light(_instruction(0xB7, 0x00, 0, _SHOT), _instruction(0x95))))
