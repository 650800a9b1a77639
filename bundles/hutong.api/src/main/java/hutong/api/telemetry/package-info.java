// SPDX-License-Identifier: Apache-2.0
/** Counters and events. */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.0.0")
package hutong.api.telemetry;
