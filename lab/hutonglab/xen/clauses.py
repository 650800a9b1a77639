# SPDX-License-Identifier: Apache-2.0
"""What Xen itself, the kernel and the wire show of the method's clauses M1 to M5, while the agents and programs run."""

import re
import threading

from . import hosts


def brief(text):
    """xenstore-ls without its dots: key = value, and permissions where a line has any."""
    return ", ".join(re.sub(r"[ .]{3,}", " ", line).strip() for line in text.splitlines() if "key =" not in line)


class Clauses:
    """Prints a line for each clause that was observed, and counts those that were not."""

    def __init__(self, lab, nodes, programs, report):
        self.lab, self.nodes, self.programs, self.report = lab, nodes, programs, report

    def _store(self, host, path):
        return self.lab.sh(host, "xenstore-ls -p %s" % path, check=False).text

    def start_up(self):
        """M1: what each VM has set up and published."""
        for vm in hosts.VMS:
            host, domid = hosts.VMS[vm].host, self.nodes.domid(vm)
            text = self._store(host, "/local/domain/%d/data/hutong" % domid)
            mac = re.search(r'mac = "([^"]+)"', text)
            self.report.clause("M1.4", vm, bool(mac) and mac.group(1) == hosts.mac(vm),
                               "domain %d of %s has published %s" % (domid, host, brief(text)))
        for vm in hosts.VMS:
            limit = self.lab.sh(vm, "cat /sys/module/xen_gntalloc/parameters/limit").text.strip()
            self.report.clause("M1.2", vm, self.nodes.ask_json(vm, "hutong:channels") is not None,
                               "the channel table is there; gntalloc's limit is %s pages" % limit)

    def lists(self):
        """M4: the signed lists, as they are on the wire, and what a VM makes of them."""
        domains = self.lab.sh("PC1", "xl list | tail -n +3 | awk '{print $2}' | tr '\\n' ' '").text.split()
        handed = self.lab.sh("PC1", "xenstore-read /local/domain/%s/hutong/domains" % domains[0], check=False).text.split()
        self.report.clause("M4.1", "PC1", handed == domains,
                           "the hypervisor has the domains %s, the VMs were told %s" % (" ".join(domains), " ".join(handed)))
        seen = self.lab.sh("VM1", "timeout 60 tcpdump -c 2 -e -n -i eth0 ether proto 0x88b6 2>/dev/null | grep -o '^.*length [0-9]*'",
                           100, False).text.strip().splitlines()
        self.report.clause("M4.2", "VM1", len(seen) >= 2, "list datagrams on eth0: " + "; ".join(seen))
        for vm in hosts.VMS:
            names = [row["name"] for row in self.nodes.ask_json(vm, "hutong:vms") or ()]
            self.report.clause("M5.1", vm, sorted(names) == sorted(hosts.VMS), "knows " + ", ".join(names))

    def channel(self):
        """M5.2 to M5.4: one stream, and what Xen says of its pages and its event channel meanwhile."""
        seen = {}

        def look():
            seen["grants"] = self.grants("PC1")
            seen["mapped"] = self.mapped("VM2")
            seen["events"] = self.events("PC1")
        before = self.mapped("VM2"), self.events("PC1")
        row = self.programs.conns_during("VM1", lambda: self.programs.transfer("VM1", "VM2", 72, True, rate=4), then=look)
        self.report.clause("M5.2", "VM1", row is not None, "hutong:conns while it ran: %s"
                           % ({k: row.get(k) for k in ("local", "remote", "path", "ringOut")} if row else "nothing"))
        self.report.clause("M5.3", "PC1", seen.get("mapped", 0) > before[0] and bool(seen.get("grants"))
                           and seen.get("events", 0) > before[1],
                           "pages granted by domain and active, as Xen has them: %s; VM2 maps %d pages of gntdev (before: %d);"
                           " event channels between the VMs: %d (before: %d)"
                           % (seen.get("grants"), seen.get("mapped", 0), before[0], seen.get("events", 0), before[1]))
        ring, by_tcp = self.programs.moved("VM1")
        self.report.clause("M5.4", "VM1", ring > 0, "%d bytes went through the channel, %d by TCP before it"
                           % (ring, by_tcp))

    def between_hosts(self):
        """M2 and M3: a stream between the hosts, and its datagrams on the wire."""
        frames = []

        def capture():
            frames.extend(self.lab.sh("VM3", "timeout 150 tcpdump -c 3 -e -n -i eth0 ether proto 0x88b5 and greater 1000"
                                      " 2>/dev/null | grep -o '^.*length [0-9]*'", 180, False).text.strip().splitlines())
        thread = threading.Thread(target=capture)
        thread.start()
        row = self.programs.conns_during("VM1", lambda: self.programs.transfer("VM1", "VM3", 32, True, rate=2))
        thread.join()
        self.report.clause("M2.1", "VM1", row is not None, "hutong:conns while it ran: %s"
                           % ({k: row.get(k) for k in ("local", "remote", "path", "ringOut")} if row else "nothing"))
        self.report.clause("M3.2", "VM3", bool(frames), "light datagrams on eth0: " + "; ".join(frames))

    # ---- what Xen and the kernel say

    def grants(self, host):
        """{granting domain: active grants to other VMs}, by the hypervisor's debug key."""
        text = self.lab.sh(host, "xl dmesg -c >/dev/null; xl debug-keys g; xl dmesg -c", 60, False).text
        out, domain = {}, None
        for line in text.splitlines():
            head = re.search(r"grant-table for remote d(\d+)", line)
            entry = re.search(r"\[0x[0-9a-f]+\]\s+(\d+)\s+0x", line)
            if head:
                domain = int(head.group(1))
            elif entry and domain and int(entry.group(1)) != 0:
                out[domain] = out.get(domain, 0) + 1
        return out

    def mapped(self, vm, device="gntdev"):
        """Pages of a device that this VM's programs have mapped; of `gntdev`: other VMs' pages."""
        text = self.lab.sh(vm, "cat /proc/[0-9]*/maps 2>/dev/null | grep -E '%s'" % device, check=False).text
        pages = 0
        for line in text.splitlines():
            low, high = line.split()[0].split("-")
            pages += (int(high, 16) - int(low, 16)) // 4096
        return pages

    def events(self, host):
        """Event channels between two VMs of a host."""
        total = 0
        for domid in self.lab.sh(host, "xl list | awk 'NR > 2 {print $2}'").text.split():
            text = self.lab.sh(host, "/usr/lib/xen-4.17/bin/lsevtchn %s" % domid, check=False).text
            total += len(re.findall(r"Connected\) - Remote Domain [1-9]", text))
        # Each is listed with both of its ends; one whose other end is gone is there once.
        return (total + 1) // 2
