// SPDX-License-Identifier: Apache-2.0
/**
 * The operating system, through JNR-FFI on libc. All services here are safe for use by several
 * threads unless they say otherwise; a failing call is an {@link hutong.platform.OsException} with
 * its errno.
 */
@org.osgi.annotation.bundle.Export
@org.osgi.annotation.versioning.Version("1.2.0")
package hutong.platform;
