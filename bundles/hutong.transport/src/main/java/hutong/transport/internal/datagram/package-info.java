// SPDX-License-Identifier: Apache-2.0

/** The datagram of the light protocol as it lies on the wire (H-sum to H-chan, D4, D6). */
package hutong.transport.internal.datagram;
