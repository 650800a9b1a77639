# SPDX-License-Identifier: Apache-2.0
"""The two ways in which a subcommand fails, and the exit status of each."""


class LabError(Exception):
    """Something in the cluster or on the machine is wrong: message on stderr, exit 1."""

    status = 1


class UsageError(LabError):
    """The command line is wrong: message on stderr, exit 2."""

    status = 2
