// SPDX-License-Identifier: Apache-2.0
/** Gogo commands on the agent's services, and the socket on which they can be given. */
package hutong.shell.internal;
