// SPDX-License-Identifier: Apache-2.0
/** The channel table (M1.2) and the segments (M5.3). */
package hutong.channel.internal;
