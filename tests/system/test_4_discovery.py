# SPDX-License-Identifier: Apache-2.0
"""Discovery (M4): every VM knows every other, and notices who stops and who appears."""

import json

from support import PC1, VM1, VM2, VM3, ClusterTest, eventually, hutong, members, shell


class DiscoveryTest(ClusterTest):
    def vms(self, node):
        return {m["name"]: m for m in json.loads(shell(node, "hutong:vms --json"))}

    def test_all_vms_are_members_everywhere(self):
        for node in (VM1, VM2, VM3):
            eventually(lambda node=node: members(node) == ["VM1", "VM2", "VM3"], node.name + " knows all")

    def test_a_member_has_its_mac_and_all_its_addresses(self):
        seen = self.vms(VM1)
        for vm in (VM1, VM2, VM3):
            self.assertEqual(seen[vm.name]["mac"].lower(), vm.mac)
            self.assertIn(vm.ipv4, str(seen[vm.name]["addresses"]))
            self.assertIn("fd77", str(seen[vm.name]["addresses"]))

    def test_co_resident_means_listed_by_the_same_host(self):
        seen = self.vms(VM1)
        self.assertTrue(seen["VM2"]["coResident"])
        self.assertFalse(seen["VM3"]["coResident"])
        self.assertTrue(self.vms(VM3)["VM3"]["self"])

    def test_a_vm_that_stops_is_noticed_and_one_that_appears_too(self):
        for action in ("stop", "kill"):
            with self.subTest(action):
                hutong("agent", "VM2", action)
                for node in (VM1, VM3):
                    eventually(lambda node=node: "VM2" not in members(node), node.name + " lost VM2", 20)
                hutong("agent", "VM2", "start")
                for node in (VM1, VM3):
                    eventually(lambda node=node: "VM2" in members(node), node.name + " found VM2 again", 20)

    def test_a_new_address_becomes_a_member_address(self):
        hutong("exec", "VM2", "--", "ip", "addr", "add", "10.77.0.22/24", "dev", "eth0")
        try:
            eventually(lambda: "10.77.0.22" in str(self.vms(VM1)["VM2"]["addresses"]), "VM1 knows the new address", 20)
        finally:
            hutong("exec", "VM2", "--", "ip", "addr", "del", "10.77.0.22/24", "dev", "eth0")
        eventually(lambda: "10.77.0.22" not in str(self.vms(VM1)["VM2"]["addresses"]), "VM1 forgot it", 20)

    def test_the_host_agent_may_restart(self):
        hutong("agent", PC1.name, "kill")
        hutong("agent", PC1.name, "start")
        for node in (VM1, VM2, VM3):
            eventually(lambda node=node: members(node) == ["VM1", "VM2", "VM3"], node.name + " knows all again", 30)
