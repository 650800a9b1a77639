# SPDX-License-Identifier: Apache-2.0
"""The lab with real Xen: two emulated machines that run the hypervisor, dom0 and the VMs."""
