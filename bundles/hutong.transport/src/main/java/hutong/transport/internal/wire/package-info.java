// SPDX-License-Identifier: Apache-2.0
/** The wires below the engine: Ethernet and UDP (architecture, decision 11). */
package hutong.transport.internal.wire;
