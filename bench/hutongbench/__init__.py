# SPDX-License-Identifier: Apache-2.0
"""The reference experiment: TCP and Hutong side by side, in alternating pairs."""
