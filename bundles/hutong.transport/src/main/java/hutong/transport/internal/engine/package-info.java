// SPDX-License-Identifier: Apache-2.0

/**
 * The light protocol's engine (M3, D4, D5): windows, timers and recovery of one connection, without
 * sockets, threads or a clock of its own.
 */
package hutong.transport.internal.engine;
