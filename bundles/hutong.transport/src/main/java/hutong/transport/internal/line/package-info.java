// SPDX-License-Identifier: Apache-2.0
/**
 * Connections between hosts: the agent's end of the program's segment, the rounds that two agents
 * agree, and the flows that carry the bytes. Everything but {@link
 * hutong.transport.internal.line.TransportComponent} belongs to one thread.
 */
package hutong.transport.internal.line;
