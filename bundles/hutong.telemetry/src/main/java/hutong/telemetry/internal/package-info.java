// SPDX-License-Identifier: Apache-2.0
/** Counters in a mapped file, and the event log. */
package hutong.telemetry.internal;
