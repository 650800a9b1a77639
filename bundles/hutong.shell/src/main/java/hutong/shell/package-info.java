// SPDX-License-Identifier: Apache-2.0

/** Gogo commands and the shell socket. */
package hutong.shell;
