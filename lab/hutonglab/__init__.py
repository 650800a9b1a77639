# SPDX-License-Identifier: Apache-2.0
"""The virtual cluster: network namespaces that play hosts and VMs, and the agents in them."""
